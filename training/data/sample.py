"""An image in the making and the objects on it: what every step of the augmentation takes and returns.

Pixels and boxes travel together, so that a step that moves one cannot forget the other. This module draws nothing at
random and knows no file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FILL = 114  # grey of every pixel that no image covers, the same in training and serving


@dataclass(frozen=True, slots=True)
class Labels:
    """Objects of one image.

    boxes: (N, 4) float32, xyxy in pixels of that image. classes: (N,) int64, from 0. outlines: N polygons, each (P, 2)
    float32 in the same pixels or None where only the box is known; empty where that holds for every object.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    outlines: tuple[NDArray[np.float32] | None, ...] = ()

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Put the objects of several images that share one frame into one value, in order."""
        outlines: tuple[NDArray[np.float32] | None, ...] = ()
        if any(part.outlines for part in parts):
            outlines = tuple(outline for part in parts for outline in part.outlines or (None,) * len(part))
        boxes, classes = [part.boxes for part in parts], [part.classes for part in parts]
        return cls(np.concatenate(boxes), np.concatenate(classes), outlines)

    def scaled(self, x: float, y: float) -> Self:
        """Multiply the coordinates; a negative factor mirrors."""
        factors = np.array((x, y), np.float32)
        return self._mapped(lambda points: points * factors)

    def shifted(self, x: float, y: float) -> Self:
        """Add to the coordinates."""
        offset = np.array((x, y), np.float32)
        return self._mapped(lambda points: points + offset)

    def clipped(self, width: float, height: float) -> Self:
        """Cut at the image's edges. Nothing is dropped: an object outside becomes a box without area."""
        corner = np.array((width, height), np.float32)
        return self._mapped(lambda points: np.clip(points, 0, corner))

    def _mapped(self, move: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Self:
        first, second = move(self.boxes[:, :2]), move(self.boxes[:, 2:])
        boxes = np.concatenate((np.minimum(first, second), np.maximum(first, second)), axis=1)
        outlines = tuple(outline if outline is None else move(outline) for outline in self.outlines)
        return type(self)(boxes, self.classes, outlines)


@dataclass(frozen=True, slots=True)
class Sample:
    """image: (H, W, 3) uint8 RGB, C-contiguous; labels: in its pixels."""

    image: NDArray[np.uint8]
    labels: Labels
