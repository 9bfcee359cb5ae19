"""Boxes and labels onto a picture. Knows nothing of where detections come from."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.vision.detections import Detections


def draw(image: NDArray[np.uint8], detections: Detections, class_names: Sequence[str]) -> NDArray[np.uint8]:
    """A new (H, W, 3) uint8 RGB picture: `image` with a box and a label for each detection, the best one on top.

    Lines and letters grow with the picture. A label sits on its box's upper edge, or within the box where there is no
    room above; it never leaves the picture unless it is wider than that.
    """
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    side = min(canvas.size)
    line = max(1, round(side / 250))
    font = ImageFont.load_default(size=max(9, side / 32))
    for index in reversed(range(len(detections))):
        class_id = int(detections.class_ids[index])
        left, top, right, bottom = (round(edge) for edge in detections.boxes[index].tolist())
        colour = class_colour(class_id)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=line)
        label = f"{class_names[class_id]} {detections.scores[index]:.2f}"
        _write(pen, (left, top), label, font=font, colour=colour)
    return np.array(canvas)


def class_colour(class_id: int) -> tuple[int, int, int]:
    """The same light colour for a class in every picture; neighbours in the list differ most (golden-ratio hues)."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * 0.618034 % 1, 0.65, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _write(
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    label: str,
    *,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: tuple[int, int, int],
) -> None:
    """Dark letters on a patch of the colour, above the corner if that is inside the picture."""
    ink = pen.textbbox((0, 0), label, font=font, anchor="la")
    margin = round(ink[3] / 4)
    width, height = round(ink[2]) + 2 * margin, round(ink[3]) + 2 * margin
    canvas_width, canvas_height = pen.im.size
    x = max(0, min(corner[0], canvas_width - width))
    y = corner[1] - height if corner[1] >= height else max(0, min(corner[1], canvas_height - height))
    pen.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
    pen.text((x + margin, y + margin), label, fill=(0, 0, 0), font=font, anchor="la")
