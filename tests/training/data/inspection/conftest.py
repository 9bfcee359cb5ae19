"""Sets with planted faults."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.inspection import Inspection, inspect
from training.data.parts import read_parts

Rows = list[tuple[int, int, list[float]]]


def picture(seed: int, size_hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    """A picture with something everywhere, of which no two seeds resemble each other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def write_part(tmp_path: Path) -> Callable[..., Path]:
    """Write a part of 80×60 pictures (named by part and seed) and rows (image, category, bbox); returns the folder."""

    def write(name: str, seeds: list[int], rows: Rows, **edits: object) -> Path:
        (tmp_path / "images").mkdir(exist_ok=True)
        for place, seed in enumerate(seeds):
            cv2.imwrite(str(tmp_path / "images" / f"{name}{place}.png"), picture(seed))
        table = {
            "images": [{"id": n, "file_name": f"{name}{n}.png", "width": 80, "height": 60} for n in range(len(seeds))],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {"id": n, "image_id": image, "category_id": category, "bbox": box}
                for n, (image, category, box) in enumerate(rows)
            ],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(table | edits))
        return tmp_path

    return write


@pytest.fixture
def found() -> Callable[..., Inspection]:
    """Inspect a folder at 80 pixels, so that boxes keep their size."""
    return lambda folder, size=80: inspect(read_parts(folder), size)
