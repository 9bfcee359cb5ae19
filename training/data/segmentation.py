"""What COCO calls a segmentation: polygons, or a run-length mask; here only its outline and its box are of interest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def outline(annotation: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """Join an object's polygons into one (P, 2), pixels; a run-length mask, as crowds have, gives none.

    Raises ValueError for a polygon that is no list of pairs.
    """
    polygons = annotation.get("segmentation")
    if not isinstance(polygons, list) or not any(polygons):
        return None
    return np.concatenate([np.array(polygon, np.float32).reshape(-1, 2) for polygon in polygons])


def box_xywh(annotation: Mapping[str, Any]) -> list[float]:
    """Return the annotation's box; where it states none, the one around its polygons or its mask.

    Raises KeyError where it has neither, ValueError for a mask that cannot be read.
    """
    if annotation.get("bbox"):
        return [float(value) for value in annotation["bbox"]]
    if (points := outline(annotation)) is not None:
        low, high = points.min(axis=0), points.max(axis=0)
        return [*low.tolist(), *(high - low).tolist()]
    mask = annotation.get("segmentation")
    if not mask or isinstance(mask, list):
        raise KeyError("bbox")
    height, width = mask["size"]
    if isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, height, width)
    return [float(value) for value in coco_mask.toBbox(mask)]
