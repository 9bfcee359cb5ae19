"""JPEG through simplejpeg (libjpeg-turbo): the header from our own walk over the markers, the pixels from the library.

Raises ValueError for what cannot be read; image.py says what that means to a caller. CMYK is left to Pillow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_START_OF_SCAN = 0xDA
_APP1 = 0xE1
# C0 to CF start a frame, but for the tables that share the range.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a body: a stuffed zero, TEM, restarts, start and end of image.
_STANDALONE = frozenset([0x00, 0x01, *range(0xD0, 0xDA)])


@dataclass(frozen=True, slots=True)
class JpegHeader:
    width: int
    height: int
    components: int
    exif: bytes


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Size, components and Exif block, from the segments before the first scan."""
    frame = exif = b""
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 1 < len(data):
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        position += 2
        if marker in _STANDALONE:
            continue
        if marker == _START_OF_SCAN:
            break
        length = int.from_bytes(data[position : position + 2])
        body = data[position + 2 : position + length]
        if marker in _START_OF_FRAME:
            frame = body
        elif marker == _APP1 and body.startswith(b"Exif\0\0") and not exif:
            exif = body
        position += length
    if len(frame) < 6:
        raise ValueError("the JPEG has no frame header")
    return JpegHeader(
        width=int.from_bytes(frame[3:5]), height=int.from_bytes(frame[1:3]), components=frame[5], exif=exif
    )


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB as stored."""
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        if "extraneous bytes" not in str(error):
            raise
        # Padding that some cameras leave before a marker: libjpeg skips it, the picture is whole.
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False)
    return pixels
