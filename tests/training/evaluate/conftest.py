"""A small set on disk, and detections of it that are known to the last box."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.vision.detections import Detections
from training.data import CocoDataset

Row = tuple[int, float, tuple[float, float, float, float]]  # class, score or crowd, corners


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[[dict[int, list[Row]]], CocoDataset]:
    """Build a set of pictures of 300 × 200 pixels from the objects of each image; of a crowd the second value is 1."""

    def make(objects: dict[int, list[Row]]) -> CocoDataset:
        (tmp_path / "images").mkdir()
        annotations: list[dict[str, object]] = []
        for image_id, rows in objects.items():
            picture = np.random.default_rng(image_id).integers(0, 256, (200, 300, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / f"{image_id}.png"), picture)
            for class_id, crowd, (x1, y1, x2, y2) in rows:
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(crowd)}
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image_id, "category_id": class_id + 1} | box
                )
        images = [{"id": i, "file_name": f"{i}.png", "width": 300, "height": 200} for i in objects]
        categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog <b>"}]
        table = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "val.json").write_text(json.dumps(table))
        return CocoDataset.open(tmp_path / "val.json")

    return make


@pytest.fixture
def dataset(make_dataset: Callable[[dict[int, list[Row]]], CocoDataset]) -> CocoDataset:
    """Two cats and a dog in image 1, a cat and a crowd of dogs in image 2, nothing in image 3."""
    return make_dataset(
        {
            1: [(0, 0, (10, 10, 60, 60)), (0, 0, (100, 10, 160, 60)), (1, 0, (200, 100, 280, 180))],
            2: [(0, 0, (20, 20, 90, 90)), (1, 1, (120, 20, 290, 190))],
            3: [],
        }
    )


def detections(*rows: Row) -> Detections:
    """Detections in the order given, which must be of falling score."""
    return Detections(
        np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([class_id for class_id, _, _ in rows], np.int32),
    )


@pytest.fixture
def found() -> dict[int, Detections]:
    """A cat found, the other missed, the dog taken for a cat; a cat twice, a dog in the crowd; a dog of nothing."""
    return {
        1: detections((0, 0.9, (10, 10, 60, 60)), (0, 0.6, (200, 100, 280, 180))),
        2: detections((0, 0.8, (20, 20, 90, 90)), (0, 0.4, (22, 22, 92, 92)), (1, 0.3, (150, 50, 200, 100))),
        3: detections((1, 0.7, (5, 5, 50, 50))),
    }
