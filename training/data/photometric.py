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
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    cv2.LUT(hsv, table, dst=hsv)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
