"""Several samples joined into one: mosaics of four and nine, the single image on its square, and the blend of two.

The paper trains on nothing else: every object is seen at many sizes, cut by edges, among strange neighbours. Canvas and window follow the recipe of the
published models. Nothing is drawn at random here.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sample import FILL, Labels, Sample


def mosaic4(tiles: Sequence[Sample], centre_xy: tuple[int, int], size: int) -> Sample:
    """Join four tiles, clockwise-read rows first, that all touch ``centre_xy`` of a canvas of twice ``size``."""
    x, y = centre_xy
    corners = []
    for tile, (left_of, above) in zip(tiles, ((True, True), (False, True), (True, False), (False, False)), strict=True):
        height, width = tile.image.shape[:2]
        corners.append((x - width if left_of else x, y - height if above else y))
    return _join(tiles, corners, 2 * size)


def mosaic9(tiles: Sequence[Sample], window_xy: tuple[int, int], size: int) -> Sample:
    """Join nine tiles around the first, clockwise from the top, and return the window of twice ``size`` whose corner is ``window_xy``."""
    corners = [(left - window_xy[0], top - window_xy[1]) for left, top in _around_first(tiles, size)]
    return _join(tiles, corners, 2 * size)


def centred(tile: Sample, size: int) -> Sample:
    """Put one image in the middle of a grey square, as serving does."""
    height, width = tile.image.shape[:2]
    return _join([tile], [(round((size - width) / 2 - 0.1), round((size - height) / 2 - 0.1))], size)


def mixup(first: Sample, second: Sample, share: float) -> Sample:
    """Blend two samples of one size, ``share`` of the first; the objects of both are kept."""
    image = cv2.addWeighted(first.image, share, second.image, 1 - share, 0)
    return Sample(np.asarray(image, np.uint8), Labels.join((first.labels, second.labels)))


def _around_first(tiles: Sequence[Sample], size: int) -> list[tuple[int, int]]:
    """Left and top of nine tiles on a canvas of three times ``size``; each leans on the one placed before it."""
    (h0, w0), *_ = sizes = [tile.image.shape[:2] for tile in tiles]
    s, corners = size, [(size, size)]
    for place, ((hp, wp), (h, w)) in enumerate(zip(sizes, sizes[1:], strict=False), start=1):
        corners.append(
            {
                1: (s, s - h),  # top
                2: (s + wp, s - h),
                3: (s + w0, s),  # right
                4: (s + w0, s + hp),
                5: (s + w0 - w, s + h0),  # bottom
                6: (s + w0 - wp - w, s + h0),
                7: (s - w, s + h0 - h),  # left
                8: (s - w, s + h0 - hp - h),
            }[place]
        )
    return corners


def _join(tiles: Sequence[Sample], corners: Sequence[tuple[int, int]], side: int) -> Sample:
    canvas = np.full((side, side, 3), FILL, np.uint8)
    for tile, (left, top) in zip(tiles, corners, strict=True):
        _paste(tile.image, canvas, left, top)
    moved = [
        tile.labels.shifted(left, top).clipped(side, side) for tile, (left, top) in zip(tiles, corners, strict=True)
    ]
    return Sample(canvas, Labels.join(moved))


def _paste(image: NDArray[np.uint8], canvas: NDArray[np.uint8], left: int, top: int) -> None:
    """Copy the part of ``image`` that falls on the canvas when its corner is at (left, top)."""
    right, bottom = min(left + image.shape[1], canvas.shape[1]), min(top + image.shape[0], canvas.shape[0])
    x, y = max(left, 0), max(top, 0)
    if x < right and y < bottom:
        canvas[y:bottom, x:right] = image[y - top : bottom - top, x - left : right - left]
