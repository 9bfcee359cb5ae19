"""An image in the making and the objects on it: what every step of the augmentation takes and returns.

Pixels and boxes travel together, so that a step that moves one cannot forget the other. This module draws nothing at
random and knows no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import cv2
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
        boxes = self.boxes * np.array((x, y, x, y), np.float32)
        if x < 0 or y < 0:
            first, second = boxes[:, :2], boxes[:, 2:]
            boxes = np.concatenate((np.minimum(first, second), np.maximum(first, second)), axis=1)
        factors = np.array((x, y), np.float32)
        return self._with(boxes, [outline if outline is None else outline * factors for outline in self.outlines])

    def shifted(self, x: float, y: float) -> Self:
        """Add to the coordinates."""
        offset = np.array((x, y, x, y), np.float32)
        outlines = [outline if outline is None else outline + offset[:2] for outline in self.outlines]
        return self._with(self.boxes + offset, outlines)

    def clipped(self, width: float, height: float) -> Self:
        """Cut at the image's edges. Nothing is dropped: an object outside becomes a box without area."""
        corner = np.array((width, height, width, height), np.float32)
        outlines = [outline if outline is None else _clipped(outline, corner[:2]) for outline in self.outlines]
        return self._with(_clipped(self.boxes, corner), outlines)

    def kept(self, keep: NDArray[np.bool_]) -> Self:
        """Keep only these, (N,) bool."""
        outlines = tuple(o for o, k in zip(self.outlines, keep, strict=True) if k) if self.outlines else ()
        return type(self)(self.boxes[keep], self.classes[keep], outlines)

    def _with(self, boxes: NDArray[np.float32], outlines: list[NDArray[np.float32] | None]) -> Self:
        return type(self)(boxes, self.classes, tuple(outlines))


@dataclass(frozen=True, slots=True)
class Sample:
    """image: (H, W, 3) uint8 RGB, C-contiguous; labels: in its pixels."""

    image: NDArray[np.uint8]
    labels: Labels

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    def cut(self, window: "Window") -> NDArray[np.uint8]:
        """Return the pixels in the window, with a fourth channel."""
        part = self.image[window.top : window.bottom, window.left : window.right]
        return np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2RGBA), np.uint8)


@dataclass(frozen=True, slots=True)
class Window:
    """Whole pixels of an image, right and bottom excluded."""

    left: int
    top: int
    right: int
    bottom: int


class Scene(Protocol):
    """What can be transformed: a finished sample, or tiles that are drawn only where they will be seen.

    Its pixels come with a fourth channel that means nothing, because OpenCV transforms four channels in half the time
    of three.
    """

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width."""

    @property
    def labels(self) -> Labels:
        """Objects, in its pixels."""

    def cut(self, window: Window) -> NDArray[np.uint8]:
        """Return the pixels in the window, (h, w, 4)."""


def _clipped(points: NDArray[np.float32], corner: NDArray[np.float32]) -> NDArray[np.float32]:
    # np.clip's checks take longer than its work on a handful of boxes.
    return np.minimum(np.maximum(points, 0), corner)
