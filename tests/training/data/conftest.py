"""Small datasets and test pictures that the data tests share."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))  # of the classes 0, 1, 2, on black


@pytest.fixture
def triangle_wave() -> Callable[[int, int], np.ndarray]:
    """The picture behind the goldens: smooth, different in each channel, the same everywhere."""

    def picture(height: int, width: int) -> np.ndarray:
        x, y, channel = np.arange(width)[:, None], np.arange(height)[:, None, None], np.arange(3)
        value = (x * (channel + 1) + 2 * y) % 510
        return np.where(value > 255, 510 - value, value).astype(np.uint8)

    return picture


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    """Write a COCO file and its pictures, ``objects`` painted in the colour of their class; returns the file's path.

    objects: rows [image, class, x, y, w, h]. Image and category ids start at 11; edits replace parts of the table.
    """

    def write(sizes_wh: list[tuple[int, int]], objects: list[list[int]], suffix: str = ".png", **edits: object) -> Path:
        (tmp_path / "images").mkdir(exist_ok=True)
        for number, (width, height) in enumerate(sizes_wh):
            picture = np.zeros((height, width, 3), np.uint8)
            for image, kind, x, y, w, h in objects:
                if image == number:
                    picture[y : y + h, x : x + w] = COLOURS[kind]
            cv2.imwrite(str(tmp_path / "images" / f"{number}{suffix}"), picture[..., ::-1])
        table = {
            "images": [
                {"id": 11 + n, "file_name": f"{n}{suffix}", "width": width, "height": height}
                for n, (width, height) in enumerate(sizes_wh)
            ],
            "categories": [{"id": 11 + n, "name": name} for n, name in enumerate(("red", "green", "blue"))],
            "annotations": [
                {"id": n, "image_id": 11 + row[0], "category_id": 11 + row[1], "bbox": row[2:]}
                for n, row in enumerate(objects)
            ],
        }
        path = tmp_path / "train.json"
        path.write_text(json.dumps(table | edits))
        return path

    return write
