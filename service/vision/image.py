"""Bytes of a photo to upright RGB pixels, and the three ways in which that fails.

    ImageError
    ├── UnsupportedImage   not an image, or of a type that is not taken
    ├── UndecodableImage   the right type, but damaged, truncated or of a kind no decoder reads
    └── ImageTooLarge      more pixels or frames than allowed, found in the headers before any pixel is decoded

JPEG goes to libjpeg-turbo; PNG, WebP, BMP, GIF and TIFF to Pillow; nothing else to anyone.
Knows neither letterbox nor network.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.Image import DecompressionBombError
from PIL.ImageFile import ImageFile

from service.vision.frames import MAX_FRAMES, count_frames
from service.vision.jpeg import JpegHeader, UnusualJpeg, decode_jpeg, read_jpeg_header
from service.vision.orientation import read_orientation, turn_upright
from service.vision.pillow import SILENCE, open_image, stored_size, to_rgb

_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "BMP": (b"BM",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_CMYK = 4

FORMATS = frozenset({*_SIGNATURES, "WEBP"})
"""The formats that can be taken, by name."""


class ImageError(Exception):
    """Something is wrong with the image that was sent; the text may be shown to whoever sent it."""


class UnsupportedImage(ImageError):
    """Not an image, or of a type that is not taken."""


class UndecodableImage(ImageError):
    """Of a type that is taken, but no decoder can read it."""


class ImageTooLarge(ImageError):
    """More pixels or frames than allowed."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header claims. width, height: as stored; orientation: 1 to 8, how Exif says to turn it upright."""

    format: str
    width: int
    height: int
    orientation: int

    @property
    def upright_hw(self) -> tuple[int, int]:
        """Height and width of the picture that `decode` returns."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


@dataclass(frozen=True, slots=True)
class _Limits:
    pixels: int
    frames: int
    formats: frozenset[str]


def read_header(
    data: bytes, *, max_pixels: int, max_frames: int = MAX_FRAMES, formats: frozenset[str] = FORMATS
) -> ImageHeader:
    """Format, size and orientation; decodes no pixels.

    max_frames: pictures of an animation or pages of a TIFF. formats: names in FORMATS; others are not taken.
    Raises UnsupportedImage, UndecodableImage (the header is damaged) or ImageTooLarge.
    """
    header, _ = _open(data, _Limits(max_pixels, max_frames, formats))
    return header


def decode(
    data: bytes, *, max_pixels: int = 50_000_000, max_frames: int = MAX_FRAMES, formats: frozenset[str] = FORMATS
) -> NDArray[np.uint8]:
    """The picture as (H, W, 3) uint8 RGB, upright, C-contiguous, writeable; of an animation the first frame.

    16-bit samples are scaled to 8, transparency shows grey (114), grey becomes RGB. Limits as in read_header.
    Raises UnsupportedImage, UndecodableImage or ImageTooLarge. Any number of threads may call it at the same time.
    """
    header, opened = _open(data, _Limits(max_pixels, max_frames, formats))
    try:
        if isinstance(opened, JpegHeader):
            pixels = _decode_jpeg(data, opened, max_pixels)
        else:
            with SILENCE:
                pixels = to_rgb(opened)
    except ImageError:
        raise
    except Exception as error:
        raise UndecodableImage(f"the {header.format} image is damaged, truncated or of a rare kind: {error}") from error
    return np.ascontiguousarray(pixels)


def _decode_jpeg(data: bytes, header: JpegHeader, max_pixels: int) -> NDArray[np.uint8]:
    try:
        return turn_upright(decode_jpeg(data, header), read_orientation(header.exif))
    except UnusualJpeg:
        _, opened = _open_with_pillow(data, "JPEG", max_pixels)
        with SILENCE:
            return to_rgb(opened)


def _open(data: bytes, limits: _Limits) -> tuple[ImageHeader, JpegHeader | ImageFile]:
    """What the header says, and what the decoder that is to go on needs."""
    kind = _recognise(data)
    if kind not in limits.formats:
        raise UnsupportedImage(f"{kind} images are not taken here, only {', '.join(sorted(limits.formats))}")
    if kind != "JPEG":
        _check_frames(data, kind, limits.frames)
        return _open_with_pillow(data, kind, limits.pixels)
    try:
        jpeg = read_jpeg_header(data)
    except ValueError as error:
        raise UndecodableImage(f"the header of the JPEG image cannot be read: {error}") from error
    if jpeg.components == _CMYK:
        return _open_with_pillow(data, kind, limits.pixels)
    return _within(limits.pixels, ImageHeader(kind, jpeg.width, jpeg.height, read_orientation(jpeg.exif))), jpeg


def _open_with_pillow(data: bytes, kind: str, max_pixels: int) -> tuple[ImageHeader, ImageFile]:
    try:
        with SILENCE:
            opened = open_image(data, kind)
            header = ImageHeader(kind, *stored_size(opened))
    except DecompressionBombError as error:
        raise ImageTooLarge(f"the image has more than {max_pixels:,} pixels") from error
    # Decoders that meet hostile bytes raise whatever they stumble over: SyntaxError, struct.error, OSError, ...
    except Exception as error:
        raise UndecodableImage(f"the header of the {kind} image cannot be read: {error}") from error
    return _within(max_pixels, header), opened


def _check_frames(data: bytes, kind: str, max_frames: int) -> None:
    try:
        frames = count_frames(data, kind, limit=max_frames)
    except ValueError as error:
        raise UndecodableImage(f"the {kind} image is not one that an encoder writes: {error}") from error
    if frames > max_frames:
        raise ImageTooLarge(f"the {kind} image has more than {max_frames:,} frames")


def _within(max_pixels: int, header: ImageHeader) -> ImageHeader:
    """The header, if it claims no more than so many pixels."""
    if header.width * header.height > max_pixels:
        raise ImageTooLarge(f"the image has {header.width} x {header.height} pixels; at most {max_pixels:,} are taken")
    return header


def _recognise(data: bytes) -> str:
    """The format that the first bytes promise."""
    for kind, signatures in _SIGNATURES.items():
        if data.startswith(signatures):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    raise UnsupportedImage(f"{len(data)} bytes that are no {', '.join(_SIGNATURES)} or WEBP image")
