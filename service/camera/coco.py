"""Detections as COCO has them: a list of results, and beside it which picture each image_id is.

`image_id` is the number that a file's name is, where all files of a folder are named so, as COCO's are; else the
frame's number in the source, from 0. `category_id` is the model's class id. Both files grow on the disk, not in
memory, under another name, and take their own when they are whole.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from service.camera.events import Answered, Event
from service.vision.boxes import xyxy_to_xywh


class Coco:
    """`results` and `images` are files, either may be None. `numbered`: names of files are ids. Raises OSError."""

    def __init__(self, results: Path | None, images: Path | None, *, numbered: bool) -> None:
        self._results = Rows(results, "[") if results else None
        self._images = Rows(images, '{"images": [') if images else None
        self._numbered = numbered
        self._categories: dict[int, str] = {}

    def write(self, event: Event) -> None:
        """An answered frame, also one in which nothing was found."""
        if not isinstance(event, Answered):
            return
        shot, (height, width) = event.shot, event.image_hw
        image_id = int(Path(shot.name).stem) if self._numbered else shot.sequence
        self._categories.update(zip(event.detections.class_ids.tolist(), event.detections.labels, strict=True))
        if self._images is not None:
            self._images.add({"id": image_id, "file_name": shot.name, "width": width, "height": height})
        if self._results is not None:
            for row in results_of(event, image_id):
                self._results.add(row)

    def close(self) -> None:
        """The categories are those of the classes that were found."""
        if self._results is not None:
            self._results.close("]")
        if self._images is not None:
            named = [{"id": number, "name": name} for number, name in sorted(self._categories.items())]
            self._images.close(f'], "annotations": [], "categories": {json.dumps(named, ensure_ascii=False)}}}')


def results_of(event: Answered, image_id: int) -> list[dict[str, Any]]:
    """The rows of one picture. Boxes are left, top, width and height."""
    found = event.detections
    boxes_xywh = np.round(xyxy_to_xywh(found.boxes).astype(np.float64), 3).tolist()
    columns = zip(found.class_ids.tolist(), boxes_xywh, found.scores.tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": class_id, "bbox": box, "score": score} for class_id, box, score in columns
    ]


class Rows:
    """A JSON list that is written as it comes, and takes its name at the end. Raises OSError."""

    def __init__(self, path: Path, head: str) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8")
        self._file.write(head)
        self._comma = ""

    def add(self, row: dict[str, Any]) -> None:
        """One more."""
        self._file.write(f"{self._comma}\n{json.dumps(row, ensure_ascii=False)}")
        self._comma = ","

    def close(self, tail: str) -> None:
        """With what ends the document."""
        with self._file:
            self._file.write(f"\n{tail}\n")
        os.replace(self._part, self._path)  # noqa: PTH105
