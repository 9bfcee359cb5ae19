"""A picture that comes as bare pixels: what a camera's own decoder gives, with nothing to decode here.

The bytes are looked at in place; RGB costs no copy at all.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from service.vision.image import ImageTooLarge, UndecodableImage

PixelFormat = Literal["rgb", "bgr", "grey"]
PIXEL_FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)


@dataclass(frozen=True, slots=True)
class RawImage:
    """`data`: rows from the top, uint8, unpadded: height × width × 3 (`rgb`, `bgr`), or height × width (`grey`)."""

    data: bytes | memoryview
    height: int
    width: int
    pixel_format: PixelFormat

    def to_rgb(self, *, max_pixels: int) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB; where it is a view of `data`, it cannot be written.

        Raises ImageTooLarge, and UndecodableImage where the bytes are not as many as the size says.
        """
        if self.height < 1 or self.width < 1:
            raise UndecodableImage(f"a picture of {self.width} x {self.height} pixels has none")
        if self.height * self.width > max_pixels:
            raise ImageTooLarge(f"{self.width} x {self.height} pixels; at most {max_pixels:,} are taken")
        channels = 1 if self.pixel_format == "grey" else 3
        expected = self.height * self.width * channels
        if len(self.data) != expected:
            kind = f"{self.width} x {self.height} pixels of {self.pixel_format}"
            raise UndecodableImage(f"{kind} are {expected:,} bytes, not {len(self.data):,}")
        pixels = np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, channels)
        if self.pixel_format == "rgb":
            return pixels
        code = cv2.COLOR_BGR2RGB if self.pixel_format == "bgr" else cv2.COLOR_GRAY2RGB
        return np.asarray(cv2.cvtColor(pixels, code), np.uint8)
