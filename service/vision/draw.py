"""Boxes and labels onto a picture. Knows nothing of where detections come from."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from service.vision.detections import Detections


def draw(image: NDArray[np.uint8], detections: Detections, class_names: Sequence[str]) -> NDArray[np.uint8]:
    """A new (H, W, 3) uint8 RGB picture: `image` with a box and a label for each detection, the best one on top."""
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    side = min(canvas.size)
    thickness = max(2, round(side / 250))
    font = ImageFont.load_default(size=max(12, round(side / 36)))
    for box, score, class_id in reversed(
        list(zip(detections.boxes.tolist(), detections.scores.tolist(), detections.class_ids.tolist(), strict=True))
    ):
        colour = class_colour(class_id)
        pen.rectangle(box, outline=colour, width=thickness)
        text = f"{class_names[class_id]} {score:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right + thickness, bottom + thickness
        x = min(max(box[0], 0), canvas.width - width)
        y = min(max(box[1] - height, 0), canvas.height - height)
        pen.rectangle((x, y, x + width, y + height), fill=colour)
        pen.text((x, y), text, fill=(0, 0, 0), font=font)
    return np.asarray(canvas).copy()


def class_colour(class_id: int) -> tuple[int, int, int]:
    """The same bright colour for a class in every picture; neighbours in the list differ (golden-ratio hues)."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * 0.618034 % 1, 0.75, 1)
    return round(255 * red), round(255 * green), round(255 * blue)
