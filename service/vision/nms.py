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
    order = (-scores).argsort(kind="stable")
    limit = len(order) if limit is None else limit
    threshold = np.float32(iou_threshold)
    kept = order[:0]
    for start in range(0, len(order), BLOCK):
        if len(kept) >= limit:
            break
        block = order[start : start + BLOCK]
        if len(kept):
            block = block[~_overlaps(boxes, classes, block, kept, threshold).any(axis=1)]
        stays = _first_come(_overlaps(boxes, classes, block, block, threshold))
        kept = np.concatenate([kept, block[stays]])
    return kept[:limit]


def _overlaps(
    boxes: NDArray[np.float32],
    classes: NDArray[np.int32] | None,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    threshold: np.float32,
) -> NDArray[np.bool_]:
    """(rows, columns) true where the two boxes are of one class and overlap too much."""
    overlaps: NDArray[np.bool_] = iou_matrix(boxes[rows], boxes[columns]) > threshold
    if classes is not None:
        overlaps &= classes[rows][:, None] == classes[columns]
    return overlaps


def _first_come(overlaps: NDArray[np.bool_]) -> list[int]:
    """Which boxes of one block stay, rising, given (B, B) overlaps of boxes in falling order of score.

    A row becomes one whole number of B bits, so that dropping all that a box overlaps is a single `or`.
    """
    packed = np.packbits(overlaps, axis=1, bitorder="little")
    row_bytes = packed.shape[1]
    bits = packed.tobytes()
    stays = []
    dropped = 0
    for index in range(len(overlaps)):
        if not dropped >> index & 1:
            stays.append(index)
            dropped |= int.from_bytes(bits[index * row_bytes : (index + 1) * row_bytes], "little")
    return stays
