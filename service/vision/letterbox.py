"""The letterbox: one object that says how a picture lies in the network's input, for its pixels and its boxes.

The picture keeps its aspect ratio, is centred, and grey (114) fills the rest. Training evaluates with this code and
serving answers with it, so measured AP is served AP. Nothing here knows how images are decoded or what a network does.

Boxes follow the pixels exactly: by the size the picture was resized to (rounded to whole pixels) and by the whole-pixel
offset it lies at. The reference implementation maps boxes by the unrounded ratio and padding instead, which at the far
edge is up to a pixel beside the picture it drew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

FILL = 114


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture of image_hw lies in an input of shape_hw: resized to resized_hw, its corner at (top, left)."""

    image_hw: tuple[int, int]
    shape_hw: tuple[int, int]
    ratio: float
    resized_hw: tuple[int, int]
    top: int
    left: int

    @classmethod
    def fit(cls, image_hw: tuple[int, int], shape_hw: tuple[int, int], *, scale_up: bool = True) -> Self:
        """The largest placement of the picture that the shape holds; without `scale_up` never larger than it is."""
        ratio = _ratio(image_hw, shape_hw)
        return cls._centred(image_hw, shape_hw, ratio if scale_up else min(ratio, 1.0))

    @classmethod
    def fit_to_stride(cls, image_hw: tuple[int, int], shape_hw: tuple[int, int], *, stride: int) -> Self:
        """As `fit`, with only as much grey as brings each side to the rest that `shape_hw` leaves modulo `stride`.

        For a `shape_hw` of whole strides that is the next stride multiple: the smallest input a network accepts.
        """
        ratio = _ratio(image_hw, shape_hw)
        height, width = _resized(image_hw, ratio)
        smallest_hw = height + (shape_hw[0] - height) % stride, width + (shape_hw[1] - width) % stride
        return cls._centred(image_hw, smallest_hw, ratio)

    @classmethod
    def _centred(cls, image_hw: tuple[int, int], shape_hw: tuple[int, int], ratio: float) -> Self:
        resized_hw = _resized(image_hw, ratio)
        # round(d - 0.1) gives the odd row to the bottom and the odd column to the right.
        top = round((shape_hw[0] - resized_hw[0]) / 2 - 0.1)
        left = round((shape_hw[1] - resized_hw[1]) / 2 - 0.1)
        return cls(image_hw, shape_hw, ratio, resized_hw, top, left)

    def apply(self, image: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The letterboxed picture, (*shape_hw, 3) uint8, written into `out` (a slot of a batch) where one is given.

        image: uint8 (*image_hw, 3), any channel order. Bilinear; one pass over the pixels, no copy after the resize.
        """
        assert image.shape == (*self.image_hw, 3), f"image {image.shape} for a letterbox of {self.image_hw}"
        if out is None:
            out = np.empty((*self.shape_hw, 3), np.uint8)
        assert out.shape == (*self.shape_hw, 3), f"output {out.shape} for a letterbox into {self.shape_hw}"
        height, width = self.resized_hw
        bottom, right = self.top + height, self.left + width
        out[: self.top] = FILL
        out[bottom:] = FILL
        out[self.top : bottom, : self.left] = FILL
        out[self.top : bottom, right:] = FILL
        inside = out[self.top : bottom, self.left : right]
        if self.resized_hw == self.image_hw:
            inside[:] = image
        else:
            cv2.resize(image, (width, height), dst=inside, interpolation=cv2.INTER_LINEAR)
        return out

    def to_network(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) xyxy from pixels of the picture to pixels of the network's input."""
        return (boxes * self._scale() + self._offset()).astype(np.float32)

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) xyxy from pixels of the network's input to pixels of the picture, clipped to it."""
        height, width = self.image_hw
        unclipped = (boxes - self._offset()) / self._scale()
        return unclipped.clip(0, np.array([width, height, width, height])).astype(np.float32)

    def _scale(self) -> NDArray[np.float64]:
        vertical, horizontal = self.resized_hw[0] / self.image_hw[0], self.resized_hw[1] / self.image_hw[1]
        return np.array([horizontal, vertical, horizontal, vertical])

    def _offset(self) -> NDArray[np.float64]:
        return np.array([self.left, self.top, self.left, self.top], np.float64)


def choose_shape(image_hw: tuple[int, int], shapes_hw: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The cheapest of a model's input shapes that shrinks this picture no more than the roomiest of them does.

    So a 16:9 frame goes to 384×640 instead of 640×640: the same pixels without the grey. Of equal areas the first wins.
    """
    roomiest = max(_ratio(image_hw, shape_hw) for shape_hw in shapes_hw)
    # The tolerance is for the division's last bit only.
    enough = [shape_hw for shape_hw in shapes_hw if _ratio(image_hw, shape_hw) >= roomiest * (1 - 1e-9)]
    return min(enough, key=lambda shape_hw: shape_hw[0] * shape_hw[1])


def _ratio(image_hw: tuple[int, int], shape_hw: tuple[int, int]) -> float:
    return min(shape_hw[0] / image_hw[0], shape_hw[1] / image_hw[1])


def _resized(image_hw: tuple[int, int], ratio: float) -> tuple[int, int]:
    # A 10,000×1 strip still is one pixel wide.
    return max(round(image_hw[0] * ratio), 1), max(round(image_hw[1] * ratio), 1)
