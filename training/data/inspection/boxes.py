"""Boxes against each other and against the training size: twice the same, too small, too long."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.data.geometry import MAX_ASPECT, MIN_SIDE
from training.data.inspection.finding import Finding
from training.data.inspection.objects import Objects

_SAME = 0.95  # IoU from which two boxes are taken for one


def find_doubtful_boxes(objects: Objects, image_size: int) -> list[Finding]:
    """Return the boxes that are there twice and those that augmentation would drop; crowds are passed over."""
    sides = sides_at(objects, image_size)
    short, long = sides.min(axis=1), sides.max(axis=1)
    lost = ~objects.crowd & (short <= MIN_SIDE)
    long_ones = ~objects.crowd & ~lost & (long >= MAX_ASPECT * short)
    findings = [
        _finding(kind, objects, row, f"{_label(objects, row)}, {width:.1f} x {height:.1f} px at {image_size}")
        for kind, found in (("box lost at this size", lost), ("box of 20:1 or longer", long_ones))
        for row, (width, height) in zip(np.flatnonzero(found).tolist(), sides[found].tolist(), strict=True)
    ]
    for first, second in _same_boxes(objects):
        labels = _label(objects, first), _label(objects, second)
        twice = labels[0] == labels[1]
        text = f"{labels[0]}, {_size(objects, second)}" if twice else " and ".join(labels)
        findings.append(_finding("box twice" if twice else "two classes on one box", objects, second, text))
    return findings


def sides_at(objects: Objects, image_size: int) -> NDArray[np.float64]:
    """Return width and height (N, 2) of the boxes once the longer side of their image is ``image_size``."""
    ratio = image_size / objects.sizes_wh.max(axis=1)[objects.image] if len(objects.image) else np.empty(0)
    return np.asarray((objects.boxes_xyxy[:, 2:] - objects.boxes_xyxy[:, :2]) * ratio[:, None], np.float64)


def _same_boxes(objects: Objects) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows of one image whose boxes are one; each row is the second of one pair at most."""
    order = np.argsort(objects.image, kind="stable")
    order = order[~objects.crowd[order]]
    for rows in np.split(order, np.flatnonzero(np.diff(objects.image[order])) + 1):
        if len(rows) < 2:
            continue
        low, high = objects.boxes_xyxy[rows, :2], objects.boxes_xyxy[rows, 2:]
        shared = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low)).clip(0).prod(axis=2)  # (n, n)
        area = (high - low).prod(axis=1)
        same = np.triu(shared > _SAME * (area[:, None] + area - shared), 1)
        for second in np.flatnonzero(same.any(axis=0)):
            yield int(rows[same[:, second].argmax()]), int(rows[second])


def _finding(kind: str, objects: Objects, row: int, text: str) -> Finding:
    x1, y1, x2, y2 = objects.boxes_xyxy[row].tolist()
    return Finding(kind, objects.part, text, objects.paths[objects.image[row]], (x1, y1, x2, y2))


def _label(objects: Objects, row: int) -> str:
    return objects.class_names[int(objects.kind[row])]


def _size(objects: Objects, row: int) -> str:
    x1, y1, x2, y2 = objects.boxes_xyxy[row]
    return f"{x2 - x1:.4g} x {y2 - y1:.4g} at {x1:.4g}, {y1:.4g}"
