"""A closer look at known detections: what matched, curves, confusion, calibration, the images behind the figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from service.vision.detections import Detections
from training.data import CocoDataset
from training.evaluate import examine, score
from training.evaluate.reference_metric import reference_scores


def test_matches_are_coco_s_and_a_crowd_is_neither_right_nor_wrong(dataset: CocoDataset, found: dict[int, Detections]):
    matches = examine(dataset, found.items()).matches
    told = {
        round(s, 1): (bool(c), bool(i))
        for s, c, i in zip(matches.scores, matches.correct[:, 0], matches.ignored[:, 0], strict=True)
    }
    assert told == {
        0.9: (True, False),
        0.6: (False, False),
        0.8: (True, False),
        0.4: (False, False),
        0.3: (False, True),
        0.7: (False, False),
    }
    assert len(matches.object_image) == 4
    assert sorted(matches.scores[row].round(1) for row in matches.found_by if row >= 0) == [0.8, 0.9]


def test_interpolated_precision_is_coco_s_ap(dataset: CocoDataset, found: dict[int, Detections]):
    examination = examine(dataset, found.items())
    for index, name in enumerate(dataset.class_names):
        expected = score(dataset, found.items()).per_class[name].ap50
        assert examination.curves.interpolated[index].mean() == pytest.approx(expected, abs=1e-12)


def test_curves_count_what_is_above_each_confidence(dataset: CocoDataset, found: dict[int, Detections]):
    curves = examine(dataset, found.items()).curves
    at = {round(c, 3): k for k, c in enumerate(curves.confidences.tolist())}
    assert curves.precision[0, at[0.5]] == pytest.approx(2 / 3)
    assert curves.recall[0, at[0.5]] == pytest.approx(2 / 3)
    assert curves.f1[0, at[0.7]] == pytest.approx(2 * 2 / (2 + 3))  # two found of three, none false
    assert np.isnan(curves.precision[0, at[0.95]])
    assert 0.6 <= curves.best_confidence(0) < 0.8


def test_the_confusion_matrix_pairs_whatever_the_class(dataset: CocoDataset, found: dict[int, Detections]):
    counts = examine(dataset, found.items()).confusion
    assert counts.tolist() == [[2, 0, 1], [1, 0, 0], [1, 1, 0]]  # is cat, dog, nothing; taken for cat, dog, missed


def test_calibration_compares_scores_with_the_share_that_is_right(dataset: CocoDataset, found: dict[int, Detections]):
    calibration = examine(dataset, found.items()).calibration
    assert calibration.counts.sum() == 5  # all but the one in the crowd
    errors = [abs(0.9 - 1), abs(0.8 - 1), 0.7, 0.6, 0.4]
    assert calibration.error == pytest.approx(np.mean(errors), abs=1e-6)


def test_the_costliest_image_comes_first_and_a_perfect_one_is_not_listed(dataset: CocoDataset):
    rows = {
        image.id: Detections(
            image.boxes_xyxy, np.full(len(image.classes), 0.9, np.float32), image.classes.astype(np.int32)
        )
        for image in dataset.images
    }
    del rows[1]
    errors = examine(dataset, rows.items()).errors
    assert errors.worst().tolist() == [0]
    assert errors.cost[0] == pytest.approx(score(dataset, rows.items()).ap50 * -1 + 1)
    assert (errors.missed_count[0], errors.found_count[1], errors.false_count.sum()) == (3, 1, 0)


def test_nothing_found_and_nothing_to_find_can_be_looked_at(dataset: CocoDataset):
    examination = examine(dataset, [])
    assert examination.confusion[:, -1].tolist() == [3, 1, 0]
    assert examination.class_confidence() == {}
    table = json.loads(json.dumps(examination.to_dict(), allow_nan=False))
    assert table["calibration_error"] is None
    assert table["ap"] == 0


@pytest.mark.parametrize(("name", "to_full_recall"), [("v50", False), ("v51", True)])
def test_the_reference_s_own_metric_is_reproduced(golden: Path, name: str, to_full_recall: bool):
    with np.load(golden / "ap.npz") as numbers:
        given = numbers["tp"], numbers["conf"], numbers["pred_cls"].astype(np.int64)
        true = numbers["target_cls"].astype(np.int64)
        ours = reference_scores(*given, true=true, to_full_recall=to_full_recall)
        for key, value in (("p", ours.precision), ("r", ours.recall), ("f1", ours.f1), ("ap", ours.ap)):
            np.testing.assert_allclose(value, numbers[f"{key}_{name}"], rtol=1e-12)
        np.testing.assert_array_equal(ours.classes, numbers[f"cls_{name}"])
