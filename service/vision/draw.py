"""Boxes and labels onto a picture. Knows nothing of where detections come from.

Only the letters are Pillow's. Its own drawing would need the whole picture in its own memory and back, which takes
longer than all the boxes.
"""

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.vision.detections import Detections


def draw(image: NDArray[np.uint8], detections: Detections, class_names: Sequence[str]) -> NDArray[np.uint8]:
    """A new (H, W, 3) uint8 RGB picture: `image` with a box and a label for each detection, the best one on top.

    Lines and letters grow with the picture. A label sits on its box's upper edge, or within the box where there is no
    room above; it never leaves the picture unless it is wider than that.
    """
    canvas = np.array(image)
    side = min(canvas.shape[:2])
    line = max(1, round(side / 250))
    size = max(9, side / 32)
    for index in reversed(range(len(detections))):
        class_id = int(detections.class_ids[index])
        colour = class_colour(class_id)
        left, top, right, bottom = (round(edge) for edge in detections.boxes[index].tolist())
        _outline(canvas, (left, top, max(left, right), max(top, bottom)), line, colour)
        letters = _label(class_names[class_id], f"{detections.scores[index]:.2f}", size)
        _paste(canvas, (left, top), _on_ground(letters, colour))
    return canvas


def class_colour(class_id: int) -> tuple[int, int, int]:
    """The same light colour for a class in every picture; neighbours in the list differ most (golden-ratio hues)."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * 0.618034 % 1, 0.65, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _outline(
    canvas: NDArray[np.uint8], box: tuple[int, int, int, int], line: int, colour: tuple[int, int, int]
) -> None:
    """Four bars within the box; its last row and column belong to it, if the picture has them."""
    height, width = canvas.shape[:2]
    left, right = (min(max(x, 0), width - 1) for x in box[::2])
    top, bottom = (min(max(y, 0), height - 1) for y in box[1::2])
    inside = canvas[top : bottom + 1, left : right + 1]
    for bar in (inside[:line], inside[-line:], inside[:, :line], inside[:, -line:]):
        bar[:] = colour


def _label(name: str, score: str, size: float) -> NDArray[np.uint8]:
    """(h, w) uint8 with a margin around: 255 where the letters cover a pixel wholly.

    To the pixel what Pillow makes of the whole line: advances are whole pixels, and nothing is kerned to a space.
    """
    parts = _letters(name + " ", size), _letters(score, size)
    overhang = _overhang(size)
    height = max(part.shape[0] for part in parts)
    margin = round(height / 4)
    page = np.zeros((height + 2 * margin, sum(part.shape[1] - overhang for part in parts) + 2 * margin), np.uint8)
    x = margin
    for part in parts:
        there = page[margin : margin + part.shape[0], x - overhang : x - overhang + part.shape[1]]
        np.maximum(there, part, out=there)
        x += part.shape[1] - overhang
    return page


# Rendering letters is most of the work of drawing, but there are only so many classes, and scores of two digits.
@lru_cache(maxsize=1024)
def _letters(text: str, size: float) -> NDArray[np.uint8]:
    """(h, w) uint8, read-only: coverage by the letters, from the ascender down, with room for overhang on the left."""
    font = ImageFont.load_default(size=size)
    ink = font.getbbox(text, anchor="la")
    overhang = _overhang(size)
    page = Image.new("L", (overhang + round(ink[2]), round(ink[3])))
    ImageDraw.Draw(page).text((overhang, 0), text, fill=255, font=font, anchor="la")
    letters = np.array(page)
    letters.flags.writeable = False
    return letters


def _overhang(size: float) -> int:
    """How far a letter may reach to the left of where its line begins; less than the margin."""
    return round(size / 8)


def _on_ground(letters: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(h, w, 3) uint8: black letters on a patch of the colour."""
    shades = (np.arange(255, -1, -1)[:, None] * colour + 127) // 255
    return cv2.LUT(cv2.cvtColor(letters, cv2.COLOR_GRAY2RGB), shades[None].astype(np.uint8)).astype(
        np.uint8, copy=False
    )


def _paste(canvas: NDArray[np.uint8], corner: tuple[int, int], patch: NDArray[np.uint8]) -> None:
    """Above the corner if that is inside the picture; what is too wide or too high for it is cut off."""
    (height, width), (rows, columns) = patch.shape[:2], canvas.shape[:2]
    x = max(0, min(corner[0], columns - width))
    y = corner[1] - height if corner[1] >= height else max(0, min(corner[1], rows - height))
    there = canvas[y : y + height, x : x + width]
    there[:] = patch[: there.shape[0], : there.shape[1]]
