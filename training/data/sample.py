"""An image in the making and the objects on it: what every step of the augmentation takes and returns.

Pixels and boxes travel together, so that a step that moves one cannot forget the other. This module draws nothing at random and knows no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

FILL = 114  # grey of every pixel that no image covers, the same in training and serving


@dataclass(frozen=True, slots=True)
class Labels:
    """Objects of one image.

    boxes: (N, 4) float32, xyxy in pixels of that image. classes: (N,) int64, from 0.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Put the objects of several images that share one frame into one value, in order."""
        return cls(np.concatenate([part.boxes for part in parts]), np.concatenate([part.classes for part in parts]))

    def scaled(self, x: float, y: float) -> Self:
        return self._moved(self.boxes * np.array((x, y, x, y), np.float32))

    def shifted(self, x: float, y: float) -> Self:
        return self._moved(self.boxes + np.array((x, y, x, y), np.float32))

    def clipped(self, width: float, height: float) -> Self:
        """Cut at the image's edges. Nothing is dropped: an object outside becomes a box without area."""
        return self._moved(np.clip(self.boxes, 0, np.array((width, height, width, height), np.float32)))

    def selected(self, keep: NDArray[np.bool_]) -> Self:
        return type(self)(self.boxes[keep], self.classes[keep])

    def _moved(self, boxes: NDArray[np.float32]) -> Self:
        return type(self)(boxes, self.classes)


@dataclass(frozen=True, slots=True)
class Sample:
    """image: (H, W, 3) uint8 RGB, C-contiguous; labels: in its pixels."""

    image: NDArray[np.uint8]
    labels: Labels
