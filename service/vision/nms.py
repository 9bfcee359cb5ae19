"""Greedy non-maximum suppression, exact. Knows nothing of images or thresholds on scores.

The rule: in falling order of score (equal scores in the order given), a box is dropped when its IoU with a kept box of
the same class is strictly above the threshold, in float32. Classes are compared, not shifted apart by an offset as is
usual, so coordinates of any size neither lose precision nor collide.

Boxes are taken in blocks: a block meets all boxes kept so far in one matrix, then itself in a second. There is no N×N
matrix, and work stops once enough are kept.
"""

import numpy as np
from numpy.typing import NDArray

from service.vision.boxes import iou_matrix

BLOCK = 128


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    iou_threshold: float,
    *,
    classes: NDArray[np.int32] | None = None,
    limit: int | None = None,
) -> NDArray[np.int64]:
    """Indices of the boxes that stay, best first.

    boxes: float32 (N, 4) xyxy in any one frame. scores: float32 (N,).
    classes: int (N,), boxes of different classes leave one another alone; None: all are one class.
    limit: stop after so many.
    """
    order = np.argsort(-scores, kind="stable")
    limit = len(order) if limit is None else limit
    if classes is None:
        classes = np.zeros(len(order), np.int32)
    threshold = np.float32(iou_threshold)
    kept = np.empty(0, np.int64)
    for start in range(0, len(order), BLOCK):
        if len(kept) >= limit:
            break
        block = order[start : start + BLOCK]
        free = ~_overlaps(boxes, classes, block, kept, threshold).any(axis=1)
        block = block[free]
        kept = np.concatenate([kept, block[_survivors(_overlaps(boxes, classes, block, block, threshold))]])
    return kept[:limit]


def _overlaps(
    boxes: NDArray[np.float32],
    classes: NDArray[np.int32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    threshold: np.float32,
) -> NDArray[np.bool_]:
    """(rows, columns) true where the two boxes are of one class and overlap too much."""
    overlaps: NDArray[np.bool_] = iou_matrix(boxes[rows], boxes[columns]) > threshold
    overlaps &= classes[rows][:, None] == classes[columns]
    return overlaps


def _survivors(overlaps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which boxes of one block stay, given (B, B) overlaps of boxes in falling order of score."""
    alive = np.ones(len(overlaps), np.bool_)
    for index, overlapped in enumerate(overlaps):
        if alive[index]:
            alive[index + 1 :] &= ~overlapped[index + 1 :]
    return alive
