"""Several samples joined into one: mosaics of four and of nine, an image alone on its square, the blend of two.

The paper trains on hardly anything else: every object is seen at many sizes, cut by edges, among strange neighbours.
Nothing is random here, and no pixel is touched before it is known what the transform that follows will show of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.vision.letterbox import Letterbox
from training.data.sample import FILL, Labels, Sample, Window


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Tiles with their left and top on a square canvas of ``side``; later tiles cover earlier ones, grey shows between.

    labels: in pixels of the canvas, cut at its edges.
    """

    tiles: tuple[Sample, ...]
    corners: tuple[tuple[int, int], ...]
    side: int
    labels: Labels

    @classmethod
    def of(cls, tiles: Sequence[Sample], corners: Sequence[tuple[int, int]], side: int) -> "Mosaic":
        """Place tiles and their objects."""
        placed = [tile.labels.shifted(*corner) for tile, corner in zip(tiles, corners, strict=True)]
        return cls(tuple(tiles), tuple(corners), side, Labels.join(placed).clipped(side, side))

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.side, self.side

    def cut(self, window: Window) -> NDArray[np.uint8]:
        """Draw the part of the canvas in the window, with a fourth channel."""
        canvas = np.full((window.bottom - window.top, window.right - window.left, 4), FILL, np.uint8)
        for tile, (left, top) in zip(self.tiles, self.corners, strict=True):
            _paste(tile.image, canvas, left - window.left, top - window.top)
        return canvas

    def drawn(self) -> Sample:
        """Draw the whole canvas."""
        canvas = self.cut(Window(0, 0, self.side, self.side))
        return Sample(np.asarray(cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB), np.uint8), self.labels)


def mosaic4(tiles: Sequence[Sample], centre_xy: tuple[int, int], size: int) -> Mosaic:
    """Join four tiles that all touch ``centre_xy`` of a square canvas of twice ``size``, in reading order."""
    x, y = centre_xy
    (h0, w0), (h1, _), (_, w2), _ = (tile.hw for tile in tiles)
    return Mosaic.of(tiles, [(x - w0, y - h0), (x, y - h1), (x - w2, y), (x, y)], 2 * size)


def mosaic9(tiles: Sequence[Sample], window_xy: tuple[int, int], size: int) -> Mosaic:
    """Join nine tiles, eight around the first, into the window of twice ``size`` whose corner is at ``window_xy``.

    The whole would be three times ``size``.
    """
    x, y = window_xy
    return Mosaic.of(tiles, [(left - x, top - y) for left, top in _corners_around_first(tiles, size)], 2 * size)


def centred(tile: Sample, size: int) -> Mosaic:
    """Put an image whose longer side is ``size`` on its grey square, where serving would put it."""
    letterbox = Letterbox.fit(tile.hw, (size, size))
    return Mosaic.of([tile], [(letterbox.left, letterbox.top)], size)


def mixup(first: Sample, second: Sample, share: float) -> Sample:
    """Blend two samples of one size, ``share`` of the first; the objects of both are kept."""
    image = cv2.addWeighted(first.image, share, second.image, 1 - share, 0)
    return Sample(np.asarray(image, np.uint8), Labels.join((first.labels, second.labels)))


def _corners_around_first(tiles: Sequence[Sample], size: int) -> list[tuple[int, int]]:
    """Left and top of nine tiles, clockwise from the top; a tile at a corner leans on the one placed before it."""
    (h0, w0), (h1, w1), (h2, _), (h3, _), _, (_, w5), (_, w6), (h7, w7), (h8, w8) = (tile.hw for tile in tiles)
    return [
        (size, size),
        (size, size - h1),
        (size + w1, size - h2),
        (size + w0, size),
        (size + w0, size + h3),
        (size + w0 - w5, size + h0),
        (size + w0 - w5 - w6, size + h0),
        (size - w7, size + h0 - h7),
        (size - w8, size + h0 - h7 - h8),
    ]


def _paste(image: NDArray[np.uint8], canvas: NDArray[np.uint8], left: int, top: int) -> None:
    """Copy the part of ``image`` (three channels) that falls on the canvas when its corner lies at (left, top)."""
    right, bottom = min(left + image.shape[1], canvas.shape[1]), min(top + image.shape[0], canvas.shape[0])
    x, y = max(left, 0), max(top, 0)
    if x < right and y < bottom:
        part = image[y - top : bottom - top, x - left : right - left]
        cv2.cvtColor(part, cv2.COLOR_RGB2RGBA, dst=canvas[y:bottom, x:right])
