"""Colour: what changes the values of pixels and moves nothing."""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import Augmentation


@dataclass(frozen=True, slots=True)
class ColourDraw:
    """Factors for hue, saturation and value."""

    hue: float = 1.0
    saturation: float = 1.0
    value: float = 1.0

    @classmethod
    def sample(cls, rng: np.random.Generator, augmentation: Augmentation) -> Self:
        """Draw each factor around 1, as far from it as the recipe allows."""
        hue, saturation, value = rng.uniform(-1, 1, 3)
        return cls(1 + hue * augmentation.hue, 1 + saturation * augmentation.saturation, 1 + value * augmentation.value)


def recolour(image: NDArray[np.uint8], draw: ColourDraw) -> NDArray[np.uint8]:
    """Multiply hue (around the circle), saturation and value (clipped) of an (H, W, 3) uint8 RGB image; a new image.

    A channel has 256 levels, so each factor is one look-up table. OpenCV's 8-bit hue circle has 180 steps.
    """
    levels = np.arange(256, dtype=np.float64)
    table = np.empty((1, 256, 3), np.uint8)
    table[0, :, 0] = (levels * draw.hue) % 180
    table[0, :, 1] = np.clip(levels * draw.saturation, 0, 255)
    table[0, :, 2] = np.clip(levels * draw.value, 0, 255)
    if _is_grey(image):
        return np.asarray(cv2.LUT(image, table[0, :, 2]), np.uint8)
    planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    # Three tables on three planes are faster than OpenCV's own loop over pixels of three channels.
    hsv = cv2.merge([cv2.LUT(plane, table[0, :, channel]) for channel, plane in enumerate(planes)])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv), np.uint8)


def _is_grey(image: NDArray[np.uint8]) -> bool:
    """Tell whether the channels are equal, as those of thermal cameras are: then only the value changes.

    A few pixels settle it for nearly every colour photograph.
    """
    for pixels in (image[::61, ::67], image):
        if (pixels[..., 0] != pixels[..., 1]).any() or (pixels[..., 1] != pixels[..., 2]).any():
            return False
    return True
