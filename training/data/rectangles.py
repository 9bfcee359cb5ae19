"""Validation in rectangles: images of like shape together, each batch only as large as its images need.

The reference implementation validates so, and ``training.evaluate.paper`` does for figures that are to be compared with
published ones. Between epochs and on model cards AP is measured in the shapes that serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A batch: which images, and the shape that they are letterboxed to."""

    indices: tuple[int, ...]
    shape_hw: tuple[int, int]


def rectangles(
    sizes_wh: Sequence[tuple[int, int]], batch_size: int, *, image_size: int, stride: int, pad: float = 0.5
) -> list[Rectangle]:
    """Plan the batches: images sorted by height / width, each batch as long as ``image_size`` and as wide as needed.

    pad: in strides, added to both sides before rounding up, so that no image ends at the very edge.
    """
    ratios = np.array([height / width for width, height in sizes_wh], np.float64)
    order = np.argsort(ratios, kind="stable")
    batches = []
    for begin in range(0, len(order), batch_size):
        indices = order[begin : begin + batch_size]
        low, high = ratios[indices].min(), ratios[indices].max()
        # All lying, all standing, or both.
        sides = (high, 1.0) if high < 1 else (1.0, 1 / low) if low > 1 else (1.0, 1.0)
        height, width = (int(np.ceil(side * image_size / stride + pad)) * stride for side in sides)
        batches.append(Rectangle(tuple(indices.tolist()), (height, width)))
    return batches
