"""What every contender does with a photo, whatever serves it: decode, letterbox, suppression, JSON.

All of it through service.vision, so that frameworks are compared and not decoders. Needs neither of them.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates
from service.vision.image import decode
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import PostprocessOptions, postprocess

# Whoever imports this has threads or processes of its own; OpenCV's pool within each would only compete with them.
cv2.setNumThreads(1)


class Prepared(NamedTuple):
    """A photo as the network takes it: pixels (H, W, 3) uint8 in the letterbox's shape."""

    letterbox: Letterbox
    pixels: NDArray[np.uint8]


def prepare(jpeg: bytes, shapes_hw: Sequence[tuple[int, int]]) -> Prepared:
    """Decode and letterbox into the cheapest shape that fits."""
    image = decode(jpeg)
    image_hw = image.shape[0], image.shape[1]
    letterbox = Letterbox.fit(image_hw, choose_shape(image_hw, shapes_hw))
    return Prepared(letterbox, letterbox.apply(image))


def answer(candidates: Candidates, letterbox: Letterbox) -> bytes:
    """The detections as JSON, in the form that ours has."""
    found = postprocess(candidates, letterbox, PostprocessOptions())
    rows = [
        {"class_id": class_id, "score": score, "box": dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))}
        for box, score, class_id in zip(
            found.boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True
        )
    ]
    height, width = letterbox.image_hw
    return json.dumps({"image": {"width": width, "height": height}, "detections": rows}).encode()
