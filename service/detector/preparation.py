"""From the bytes of a picture to the network's input: decode and letterbox, one step for one thread.

Plain functions; whoever calls them sees to the thread.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.vision.image import decode
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.raw import RawImage
from service.vision.spec import ModelSpec

# An encoded file, or pixels that need no decoding.
Picture = bytes | RawImage


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is taken: found in the header, before any pixel is decoded."""

    max_pixels: int
    max_frames: int
    formats: frozenset[str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """`pixels` (H, W, 3) uint8 RGB as `letterbox` laid them, ready for the network."""

    letterbox: Letterbox
    pixels: NDArray[np.uint8]
    decode_s: float
    preprocess_s: float


def prepare(picture: Picture, spec: ModelSpec, limits: ImageLimits) -> Prepared:
    """Decodes a picture and letterboxes it into the cheapest fitting shape. Raises ImageError."""
    started_at = time.monotonic()
    image = decode_within(picture, limits)
    decoded_at = time.monotonic()
    image_hw = image.shape[0], image.shape[1]
    letterbox = Letterbox.fit(image_hw, choose_shape(image_hw, spec.input_shapes))
    pixels = letterbox.apply(image)
    return Prepared(letterbox, pixels, decoded_at - started_at, time.monotonic() - decoded_at)


def decode_within(picture: Picture, limits: ImageLimits) -> NDArray[np.uint8]:
    """The upright picture, (H, W, 3) uint8 RGB, not to be written. Raises ImageError."""
    if isinstance(picture, RawImage):
        return picture.to_rgb(max_pixels=limits.max_pixels)
    return decode(picture, max_pixels=limits.max_pixels, max_frames=limits.max_frames, formats=limits.formats)
