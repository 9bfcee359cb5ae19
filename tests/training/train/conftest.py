"""A set that trains in a second: eight noise images, one bright square each, of two classes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.config import Config, Optimizer
from training.data import CocoDataset, open_part

OPTIMIZER = Optimizer(nominal_batch=4, warmup_epochs=1.0, warmup_min_iterations=0, ema_tau=5.0)


@pytest.fixture
def config() -> Config:
    return Config(
        variant="tiny",
        image_size=64,
        epochs=2,
        batch_size=4,
        workers=0,
        precision="fp32",
        device="cpu",
        optimizer=OPTIMIZER,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folder of the set, its parts the same."""
    rng = np.random.default_rng(0)
    (tmp_path / "data" / "images").mkdir(parents=True)
    annotations = []
    for i in range(8):
        image = rng.integers(0, 90, (64, 64, 3), np.uint8)
        x, y, side = (int(v) for v in rng.integers(8, 30, 3))
        image[y : y + side, x : x + side] = 230
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{i}.png"), image)
        box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
        annotations.append({"id": i + 1, "image_id": i, "category_id": i % 2 + 1} | box)
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(8)]
    categories = [{"id": 1, "name": "square"}, {"id": 2, "name": "other"}]
    for part in ("train", "val"):
        table = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "data" / f"{part}.json").write_text(json.dumps(table))
    return tmp_path / "data"


@pytest.fixture
def squares(data: Path) -> CocoDataset:
    return open_part(data, "train")
