"""The annotations of a part, read as leniently as can be: each fault becomes a finding, everything else an object."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.coco import whole_id
from training.data.inspection.finding import Finding
from training.data.parts import Part
from training.data.segmentation import box_xywh, outline

_EDGE = 1.0  # pixels that a box may reach over the edge before it is said
_NOT_UNDERSTOOD = (KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Objects:
    """The usable objects of a part.

    paths, sizes_wh: of the I images that exist. class_names: of C classes. image, kind: (N,) int64 indices into both.
    boxes_xyxy: (N, 4) float64 pixels, cut at the edges. crowd: (N,) bool.
    """

    part: str
    paths: tuple[Path, ...]
    sizes_wh: NDArray[np.int64]
    class_names: tuple[str, ...]
    image: NDArray[np.int64]
    kind: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    crowd: NDArray[np.bool_]


def read_objects(name: str, part: Part) -> tuple[Objects, list[Finding]]:
    """Return what a part holds, and all that is wrong with its tables and boxes."""
    reader = _Reader(name, part)
    return reader.objects(), reader.findings


@dataclass(frozen=True, slots=True)
class _Image:
    place: int
    path: Path
    width: int
    height: int


class _Reader:
    """Reads one part; what it cannot use it writes down in ``findings``."""

    def __init__(self, name: str, part: Part) -> None:
        self.findings = [Finding("not understood", name, fault) for fault in part.faults]
        self._name = name
        self._part = part
        self._listed = self._by_id("images")
        self._categories = dict(sorted(self._by_id("categories").items()))
        self._classes = {identity: index for index, identity in enumerate(self._categories)}
        self._images = dict(self._usable_images())

    def objects(self) -> Objects:
        """Read the annotations."""
        ids = list(self._classes)
        if ids and ids[-1] - ids[0] != len(ids) - 1:
            self._found("gap in category ids", f"{len(ids)} ids between {ids[0]} and {ids[-1]}")
        names = [str(category.get("name")) for category in self._categories.values()]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._found("class name used twice", name)
        table = np.array(list(self._rows()), np.float64).reshape(-1, 7)
        return Objects(
            part=self._name,
            paths=tuple(image.path for image in self._images.values()),
            sizes_wh=np.array([(i.width, i.height) for i in self._images.values()], np.int64).reshape(-1, 2),
            class_names=tuple(names),
            image=table[:, 0].astype(np.int64),
            kind=table[:, 1].astype(np.int64),
            boxes_xyxy=table[:, 3:],
            crowd=table[:, 2].astype(np.bool_),
        )

    def _found(self, kind: str, text: str, image: Path | None = None, box: list[float] | None = None) -> None:
        corners = _corners(box) if box and all(map(math.isfinite, box)) else None  # JSON knows no NaN
        self.findings.append(Finding(kind, self._name, text, image, corners))

    def _by_id(self, what: str) -> dict[int, dict[str, Any]]:
        items = self._part.table.get(what)
        if not isinstance(items, list) or not items:
            self._found("not understood", f"{self._part.origin} lists no {what}")
            return {}
        found: dict[int, dict[str, Any]] = {}
        for place, item in enumerate(items):
            try:
                identity = whole_id(item["id"])
            except _NOT_UNDERSTOOD:
                self._found("not understood", f"{what}[{place}] has no number as its id")
                continue
            if identity in found:
                self._found("id used twice", f"{what}: {identity}")
            found.setdefault(identity, item)
        return found

    def _usable_images(self) -> Iterator[tuple[int, _Image]]:
        place = 0
        for identity, item in self._listed.items():
            try:
                path = self._part.images / str(item["file_name"])
                width, height = int(item["width"]), int(item["height"])
            except _NOT_UNDERSTOOD as exc:
                self._found("not understood", f"image {identity}: {type(exc).__name__}: {exc}")
                continue
            if width < 1 or height < 1:
                self._found("wrong size", f"said to be {width}x{height} pixels", path)
            elif not path.is_file():
                self._found("missing image", f"no file {path}")
            else:
                yield identity, _Image(place, path, width, height)
                place += 1

    def _rows(self) -> Iterator[tuple[float, ...]]:
        """Yield image, class, crowd and corners of each usable object."""
        for identity, item in self._by_id("annotations").items():
            try:
                image_id, category = whole_id(item["image_id"]), whole_id(item["category_id"])
                box = box_xywh(item)
                outline(item)  # that training could read it
                x, y, w, h = box
            except _NOT_UNDERSTOOD as exc:
                self._found("not understood", f"annotation {identity}: {type(exc).__name__}: {exc}")
                continue
            if category not in self._classes or image_id not in self._listed:
                self._found("unlisted image or class", f"annotation {identity}: image {image_id}, class {category}")
            if category not in self._classes or (image := self._images.get(image_id)) is None:
                continue
            if fault := _fault(box, image):
                label = str(self._categories[category].get("name"))
                self._found(fault, f"{label}, {w:.6g} x {h:.6g} at {x:.6g}, {y:.6g}", image.path, box)
            if fault in (None, "box over the edge"):
                x1, y1, x2, y2 = _corners(box)
                cut = max(x1, 0.0), max(y1, 0.0), min(x2, float(image.width)), min(y2, float(image.height))
                yield image.place, self._classes[category], bool(item.get("iscrowd")), *cut


def _fault(box: list[float], image: _Image) -> str | None:
    """Name what is wrong with a box, the gravest first."""
    x, y, w, h = box
    if not all(map(math.isfinite, box)):
        return "box not finite"
    if w < 0 or h < 0:
        return "box reversed"
    if w == 0 or h == 0:
        return "box without area"
    if min(x + w, image.width) <= max(x, 0) or min(y + h, image.height) <= max(y, 0):
        return "box outside"
    if min(x, y, image.width - x - w, image.height - y - h) < -_EDGE:
        return "box over the edge"
    return None


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    x, y, w, h = box
    return x, y, x + w, y + h
