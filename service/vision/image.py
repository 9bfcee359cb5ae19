"""Bytes of a photo to upright RGB pixels, and the three ways in which that fails.

    ImageError
    ├── UnsupportedImage   not an image, or of a type we do not take
    ├── UndecodableImage   the right type, but damaged, truncated or of a kind no decoder reads
    └── ImageTooLarge      more pixels than allowed, found in the header before any is decoded

JPEG goes to libjpeg-turbo; PNG, WebP, BMP, GIF and TIFF to Pillow, nothing else to anyone. Knows neither letterbox nor network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError
from PIL.ImageFile import ImageFile

from service.vision.jpeg import decode_jpeg, read_jpeg_header
from service.vision.orientation import read_orientation, turn_upright
from service.vision.pillow import SILENCE, open_image, stored_orientation, to_rgb

_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}


class ImageError(Exception):
    """Something is wrong with the image that was sent; the text may be shown to whoever sent it."""


class UnsupportedImage(ImageError):
    pass


class UndecodableImage(ImageError):
    pass


class ImageTooLarge(ImageError):
    pass


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header claims. width, height: as stored; orientation: 1 to 8, how Exif says to turn it upright."""

    format: str
    width: int
    height: int
    orientation: int

    @property
    def upright_hw(self) -> tuple[int, int]:
        """Height and width as `decode` returns the picture."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: bytes, *, max_pixels: int) -> ImageHeader:
    """Format, size and orientation; decodes no pixels.

    Raises UnsupportedImage, UndecodableImage (the header is damaged) or ImageTooLarge.
    """
    header, _ = _open(data, max_pixels)
    return header


def decode(data: bytes, *, max_pixels: int = 50_000_000) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) uint8 RGB, upright, C-contiguous; of an animation the first frame.

    16-bit samples are scaled to 8, transparency shows grey (114), grey becomes RGB.
    Raises UnsupportedImage, UndecodableImage or ImageTooLarge. Threads may call it at the same time.
    """
    header, image = _open(data, max_pixels)
    try:
        if image is None:
            pixels = turn_upright(decode_jpeg(data), header.orientation)
        else:
            with SILENCE:
                pixels = to_rgb(image)
    except Exception as error:
        raise UndecodableImage(f"the {header.format} image is damaged or truncated: {error}") from error
    return np.ascontiguousarray(pixels)


def _open(data: bytes, max_pixels: int) -> tuple[ImageHeader, ImageFile | None]:
    """The header, and the opened image where Pillow is to decode it."""
    format = _recognise(data)
    image: ImageFile | None = None
    try:
        if format == "JPEG":
            jpeg = read_jpeg_header(data)
            header = ImageHeader(format, jpeg.width, jpeg.height, read_orientation(jpeg.exif))
        if format != "JPEG" or jpeg.components == 4:
            with SILENCE:
                image = open_image(data, format)
            header = _header(format, image)
    except DecompressionBombError as error:
        raise ImageTooLarge(f"the image has more than {max_pixels:,} pixels") from error
    # Decoders meet hostile bytes and raise whatever they trip over (Pillow: SyntaxError, struct.error, OSError, ...).
    except Exception as error:
        raise UndecodableImage(f"the header of the {format} image cannot be read: {error}") from error
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(f"the image has {header.width} x {header.height} pixels; at most {max_pixels:,} are taken")
    return header, image


def _header(format: str, image: ImageFile) -> ImageHeader:
    width, height = image.size
    orientation = stored_orientation(image)
    return ImageHeader(format, width, height, orientation)


def _recognise(data: bytes) -> str:
    for format, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            return format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise UnsupportedImage(f"the {len(data)} bytes are no {', '.join(_SIGNATURES)} or WEBP image")
