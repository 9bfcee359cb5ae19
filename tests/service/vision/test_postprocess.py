"""Postprocessing against the reference's NMS (56 settings), and what each option does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.vision.boxes import cxcywh_to_xyxy
from service.vision.detections import Candidates
from service.vision.letterbox import Letterbox
from service.vision.postprocess import SERVED_EVALUATION, PostprocessOptions, postprocess

PLAIN = Letterbox.fit((640, 640), (640, 640))


def golden_predictions(seed: int, B: int, nobj: int, per: int, nc: int) -> list[NDArray[np.float32]]:
    """Per image (nobj·per, 5 + nc): centre, size, objectness, class probabilities."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(B):
        centre = rng.uniform(64, 576, (nobj, 2))
        size = np.exp(rng.uniform(np.log(16), np.log(240), (nobj, 2)))
        xy = (centre[:, None] + rng.normal(0, 0.12, (nobj, per, 2)) * size[:, None]).reshape(-1, 2)
        wh = (size[:, None] * np.exp(rng.normal(0, 0.15, (nobj, per, 2)))).reshape(-1, 2)
        objectness = rng.random((nobj * per, 1))
        classes = rng.random((nobj * per, nc)) ** 3
        images.append(np.concatenate([xy, wh, objectness, classes], axis=1).astype(np.float32))
    return images


def golden_candidates(prediction: NDArray[np.float32]) -> Candidates:
    """All pairs (prediction, class), as the served graph with K large enough would give them."""
    probabilities = prediction[:, 5:] if prediction.shape[1] > 6 else np.ones_like(prediction[:, :1])
    scores = prediction[:, 4:5] * probabilities
    rows, classes = (index.reshape(-1).astype(np.int32) for index in np.indices(scores.shape))
    return Candidates(cxcywh_to_xyxy(prediction[:, :4])[rows], scores.reshape(-1), classes, rows)


def golden_options(arguments: dict[str, Any]) -> PostprocessOptions:
    return PostprocessOptions(
        confidence=arguments["conf_thres"],
        iou=arguments["iou_thres"],
        classes=tuple(arguments["classes"]) if "classes" in arguments else None,
        class_agnostic=arguments.get("agnostic", False),
        multi_label=arguments.get("multi_label", False),
    )


def test_detections_are_the_reference_s(golden: Path) -> None:
    expected = np.load(golden / "nms.npz")
    for case in json.loads((golden / "nms.json").read_text()):
        for index, prediction in enumerate(golden_predictions(**case["pred"])):
            found = postprocess(golden_candidates(prediction), PLAIN, golden_options(case["args"]))
            rows = expected[f"{case['name']}_{index}"]
            assert len(found) == len(rows) == case["n"][index], case["name"]
            np.testing.assert_allclose(found.scores, rows[:, 4], rtol=1e-6)
            np.testing.assert_array_equal(found.class_ids, rows[:, 5])
            np.testing.assert_allclose(found.boxes, np.clip(rows[:, :4], 0, 640), atol=1e-3)


def candidates(*rows: tuple[float, int, int], boxes: list[list[float]] | None = None) -> Candidates:
    """Rows of (score, class, prediction); boxes apart from one another unless given."""
    scores, classes, predictions = zip(*rows, strict=True) if rows else ((), (), ())
    corners = boxes or [[40 * prediction, 0, 40 * prediction + 20, 20] for prediction in predictions]
    return Candidates(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int32),
        np.array(predictions, np.int32),
    )


def answer(found: Candidates, **options: Any) -> list[tuple[float, int]]:
    detections = postprocess(found, PLAIN, PostprocessOptions(**options))
    return [(round(float(s), 3), int(c)) for s, c in zip(detections.scores, detections.class_ids, strict=True)]


def test_best_first_whatever_the_order_of_rows() -> None:
    assert answer(candidates((0.3, 0, 0), (0.9, 1, 1), (0.5, 2, 2))) == [(0.9, 1), (0.5, 2), (0.3, 0)]


def test_a_score_at_the_confidence_is_not_above_it() -> None:
    assert answer(candidates((0.5, 0, 0), (0.75, 0, 1)), confidence=0.5) == [(0.75, 0)]


def test_one_label_for_a_prediction_unless_asked_for_more() -> None:
    rows = candidates((0.6, 1, 0), (0.8, 0, 0), (0.7, 1, 1))
    assert answer(rows) == [(0.8, 0), (0.7, 1)]
    assert answer(rows, multi_label=True) == [(0.8, 0), (0.7, 1), (0.6, 1)]


def test_the_class_filter_does_not_promote_a_second_best_class() -> None:
    rows = candidates((0.8, 0, 0), (0.6, 1, 0), (0.7, 1, 1))
    assert answer(rows, classes=(1,)) == [(0.7, 1)]
    assert answer(rows, classes=(1,), multi_label=True) == [(0.7, 1), (0.6, 1)]
    assert answer(rows, classes=()) == []


def test_a_class_s_own_confidence_replaces_the_general_one() -> None:
    rows = candidates((0.9, 0, 0), (0.5, 0, 1), (0.5, 1, 2), (0.2, 1, 3), (0.2, 2, 4))
    assert answer(rows, class_confidence=((0, 0.8), (1, 0.1))) == [(0.9, 0), (0.5, 1), (0.2, 1)]


def test_classes_suppress_one_another_only_when_agnostic() -> None:
    rows = candidates((0.9, 0, 0), (0.8, 1, 1), boxes=[[0, 0, 100, 100], [0, 0, 100, 95]])
    assert answer(rows) == [(0.9, 0), (0.8, 1)]
    assert answer(rows, class_agnostic=True) == [(0.9, 0)]


def test_at_most_so_many_and_they_are_the_best() -> None:
    rows = candidates(*[(0.3 + index / 100, 0, index) for index in range(15)])
    assert answer(rows, max_detections=2) == [(0.44, 0), (0.43, 0)]


def test_nothing_in_nothing_out() -> None:
    detections = postprocess(candidates(), PLAIN, SERVED_EVALUATION)
    assert (len(detections), detections.boxes.shape) == (0, (0, 4))


def test_boxes_come_back_in_pixels_of_the_original_and_inside_it() -> None:
    letterbox = Letterbox.fit((1080, 1920), (640, 640))
    rows = candidates((0.9, 0, 0), (0.8, 0, 1), boxes=[[0, 140, 320, 320], [600, 480, 700, 600]])
    detections = postprocess(rows, letterbox, PostprocessOptions())
    np.testing.assert_allclose(detections.boxes, [[0, 0, 960, 540], [1800, 1020, 1920, 1080]], atol=1e-3)
    assert (detections.boxes.dtype, detections.scores.dtype, detections.class_ids.dtype) == ("f4", "f4", "i4")


@pytest.mark.parametrize("box", [[0, 0, 640, 100], [-20, 200, -5, 300], [float("nan"), 200, 100, 300]])
def test_what_lies_outside_the_picture_is_no_detection(box: list[float]) -> None:
    letterbox = Letterbox.fit((1080, 1920), (640, 640))
    assert len(postprocess(candidates((0.9, 0, 0), boxes=[box]), letterbox, PostprocessOptions())) == 0


def test_candidates_know_their_number() -> None:
    assert len(candidates((0.9, 0, 0), (0.8, 0, 1))) == 2
