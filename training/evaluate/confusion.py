"""What is taken for what: objects and detections paired whatever their classes."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from service.vision.boxes import iou_matrix
from service.vision.detections import Detections
from training.data import CocoDataset, DatasetImage

CONFIDENCE = 0.25
IOU = 0.45


def confusion_matrix(dataset: CocoDataset, found: Mapping[int, Detections]) -> NDArray[np.int64]:
    """Count pairs (class of the object, class of the detection): (C + 1, C + 1), the last of both is the background.

    found: by image id. Detections above a confidence of 0.25 are paired with objects that they overlap by more than
    0.45, the greatest overlap first. The last row counts detections of nothing, the last column objects missed.
    Detections without an object that lie in a crowd are not counted.
    """
    classes = len(dataset.class_names)
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for image in dataset.images:
        if image.id in found:
            _count(counts, image, found[image.id])
        else:
            np.add.at(counts[:, classes], image.classes[~image.crowd], 1)
    return counts


def _count(counts: NDArray[np.int64], image: DatasetImage, found: Detections) -> None:
    background = len(counts) - 1
    sure = found.scores > CONFIDENCE
    boxes, predicted = found.boxes[sure], found.class_ids[sure]
    true, objects = image.classes[~image.crowd], image.boxes_xyxy[~image.crowd]
    pairs = pair(iou_matrix(objects, boxes), IOU)
    np.add.at(counts, (true[pairs[:, 0]], predicted[pairs[:, 1]]), 1)
    missed, spare = np.ones(len(true), np.bool_), ~_in_crowd(boxes, image.boxes_xyxy[image.crowd])
    missed[pairs[:, 0]] = spare[pairs[:, 1]] = False
    np.add.at(counts[:, background], true[missed], 1)
    np.add.at(counts[background], predicted[spare], 1)


def pair(overlaps: NDArray[np.float32], least: float) -> NDArray[np.int64]:
    """Pair rows with columns (G, D), each once, the greatest overlap first: (P, 2) places."""
    rows, columns = np.nonzero(overlaps > least)
    order = (-overlaps[rows, columns]).argsort(kind="stable")
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    pairs = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            pairs.append((row, column))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _in_crowd(boxes: NDArray[np.float32], crowds: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether more than half of a box lies in one crowd."""
    low = np.maximum(boxes[:, None, :2], crowds[:, :2])
    high = np.minimum(boxes[:, None, 2:], crowds[:, 2:])
    inside = (high - low).clip(0).prod(axis=2)  # (D, crowds)
    covered: NDArray[np.bool_] = (inside > 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]).any(axis=1)
    return covered
