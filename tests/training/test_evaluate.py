"""AP of known answers: perfect, empty, wrong class, partly found; and the way from image files to detections."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.vision.detections import Candidates, Detections
from training.data import CocoDataset, DatasetError
from training.evaluate import detect, score

BOXES = {1: [[10, 20, 50, 60], [100, 100, 160, 140]], 2: [[5, 5, 90, 80]]}


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    (tmp_path / "images").mkdir()
    annotations = []
    for image_id, boxes in BOXES.items():
        cv2.imwrite(str(tmp_path / "images" / f"{image_id}.png"), np.full((200, 300, 3), 60 * image_id, np.uint8))
        for x1, y1, x2, y2 in boxes:
            bbox = [x1, y1, x2 - x1, y2 - y1]
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": 7, "bbox": bbox})
            annotations[-1] |= {"area": bbox[2] * bbox[3], "iscrowd": 0}
    images = [{"id": i, "file_name": f"{i}.png", "width": 300, "height": 200} for i in BOXES]
    table = {"images": images, "annotations": annotations}
    table["categories"] = [{"id": 7, "name": "box"}, {"id": 9, "name": "other"}]
    (tmp_path / "val.json").write_text(json.dumps(table))
    return CocoDataset.open(tmp_path / "val.json")


def found(class_id: int = 0, *, keep: int = 99, shift: float = 0.0) -> Iterator[tuple[int, Detections]]:
    for image_id, boxes in BOXES.items():
        rows = np.asarray(boxes[:keep], np.float32).reshape(-1, 4) + np.float32(shift)
        yield image_id, Detections(rows, np.full(len(rows), 0.9, np.float32), np.full(len(rows), class_id, np.int32))


def test_perfect_detections_score_one_and_an_absent_class_is_not_a_number(dataset: CocoDataset):
    evaluation = score(dataset, found())
    assert evaluation.ap == pytest.approx(1.0)
    assert evaluation.per_class["box"].ap50 == pytest.approx(1.0)
    assert np.isnan(evaluation.per_class["other"].ap)


def test_nothing_found_scores_zero(dataset: CocoDataset):
    evaluation = score(dataset, [])
    assert (evaluation.ap, evaluation.fitness) == (0.0, 0.0)
    assert evaluation.per_class["box"].ap == 0.0
    assert np.isnan(evaluation.per_class["other"].ap)


def test_a_class_that_the_data_lacks_is_refused(dataset: CocoDataset):
    with pytest.raises(DatasetError, match="answers class 2, the data has 2 classes"):
        score(dataset, found(class_id=2))


@pytest.mark.parametrize(
    ("picture", "message"), [(b"no picture", r"1\.png: "), (None, r"1\.png is 30x20 pixels upright.* 300x200")]
)
def test_an_image_that_is_not_what_the_data_says_is_refused(dataset: CocoDataset, picture: bytes | None, message: str):
    small = cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    dataset.images[0].path.write_bytes(picture or small)
    with pytest.raises(DatasetError, match=message):
        next(detect(lambda images: [], dataset, shapes_hw=[(64, 96)]))


def test_the_wrong_class_scores_zero(dataset: CocoDataset):
    assert score(dataset, found(class_id=1)).ap50 == 0.0


def test_missing_a_third_of_the_boxes_costs_that_share_of_recall(dataset: CocoDataset):
    assert score(dataset, found(keep=1)).ap50 == pytest.approx(2 / 3, abs=0.01)


def test_boxes_a_little_off_lose_only_at_strict_overlaps(dataset: CocoDataset):
    evaluation = score(dataset, found(shift=4.0))
    assert evaluation.ap50 == pytest.approx(1.0)
    assert evaluation.ap < 0.8


def test_detections_come_back_in_the_pixels_of_each_original(dataset: CocoDataset):
    def whole_picture(images: np.ndarray) -> list[Candidates]:
        box = np.array([[0, 0, images.shape[2], images.shape[1]]], np.float32)
        one = Candidates(box, np.array([0.5], np.float32), np.zeros(1, np.int32), np.zeros(1, np.int32))
        return [one] * len(images)

    answers = dict(detect(whole_picture, dataset, shapes_hw=[(64, 96), (96, 96)]))
    assert answers.keys() == BOXES.keys()
    for answer in answers.values():
        np.testing.assert_allclose(answer.boxes, [[0, 0, 300, 200]])
