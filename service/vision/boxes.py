"""Arithmetic on boxes, in NumPy. Boxes are xyxy float32 unless a name says otherwise; their frame is the caller's."""

import numpy as np
from numpy.typing import NDArray


def cxcywh_to_xyxy(boxes_cxcywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 4) centre and size to corners."""
    half = boxes_cxcywh[..., 2:] / 2
    centre = boxes_cxcywh[..., :2]
    return np.concatenate([centre - half, centre + half], axis=-1)


def xyxy_to_cxcywh(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 4) corners to centre and size."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(top_left + bottom_right) / 2, bottom_right - top_left], axis=-1)


def xywh_to_xyxy(boxes_xywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 4) top-left corner and size (COCO's form) to corners."""
    top_left, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return np.concatenate([top_left, top_left + size], axis=-1)


def xyxy_to_xywh(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 4) corners to top-left corner and size (COCO's form)."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([top_left, bottom_right - top_left], axis=-1)


def area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Areas (...,) of boxes (..., 4)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    result: NDArray[np.float32] = sides[..., 0] * sides[..., 1]
    return result


def iou_matrix(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union (N, M) of boxes (N, 4) with others (M, 4), in the precision given.

    Two boxes without area, or with coordinates that are not finite, have none: nan, which no threshold exceeds.
    """
    # One coordinate at a time: (N, M) arrays, contiguous, instead of (N, M, 2) that is read twice.
    x1, y1, x2, y2 = boxes.T[..., None]
    ox1, oy1, ox2, oy2 = np.ascontiguousarray(others.T)
    with np.errstate(all="ignore"):
        intersection = np.minimum(x2, ox2)
        intersection -= np.maximum(x1, ox1)
        np.maximum(intersection, 0, out=intersection)
        height = np.minimum(y2, oy2)
        height -= np.maximum(y1, oy1)
        np.maximum(height, 0, out=height)
        intersection *= height
        union = (x2 - x1) * (y2 - y1) + (ox2 - ox1) * (oy2 - oy1)
        union -= intersection
        result: NDArray[np.float32] = intersection / union
    return result
