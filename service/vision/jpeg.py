"""JPEG through simplejpeg (libjpeg-turbo): the header from our own walk over the markers, the pixels from the library.

Raises ValueError for what cannot be read; image.py says what that means to a caller. Pillow reads CMYK and oddities.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

MAX_SCANS = 100
"""A progressive file needs about ten. Each passes over the whole picture but may be 80 bytes long: without a bound, ten
megabytes of them keep libjpeg busy for an hour."""

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_APP1 = 0xE1
# C0 to CF start a frame, but for the tables that share the range.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# Not the stuffed zero after an FF of pixel data, nor the restarts within it, nor TEM, nor fill bytes.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


# Bytes that some cameras leave before a marker, headers that say more than libjpeg knows, and the one thing that its
# simple interface does not take.
_UNUSUAL = (
    "extraneous bytes",
    "unknown JFIF revision",
    "Unknown Adobe color transform",
    "Invalid SOS parameters for sequential",
    "bad ICC marker",
    "Could not determine subsampling",
)


class UnusualJpeg(Exception):
    """simplejpeg refuses the file, although nothing may be missing: Pillow, which ignores warnings, is to read it."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size as stored, number of colour components, and the Exif block (empty: none)."""

    width: int
    height: int
    components: int
    exif: bytes


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Walks up to the pixels; in a progressive file on over them, to count its scans. Decodes nothing."""
    frame = exif = b""
    progressive = False
    scans = 0
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        if marker == _START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise ValueError(f"more than {MAX_SCANS} scans")
            if not progressive:
                break
        elif marker in _START_OF_FRAME and not frame:
            frame = body
            progressive = marker in _PROGRESSIVE
        elif marker == _APP1 and body.startswith(b"Exif\0\0") and not exif:
            exif = body
    if len(frame) < 6 or not scans:
        raise ValueError("no frame or no scan in it")
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    return JpegHeader(width, height, frame[5], exif)


def decode_jpeg(data: bytes, header: JpegHeader) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB as stored. Raises UnusualJpeg, or ValueError where pixels are damaged or missing.

    What libjpeg warns of is an error, since a truncated file would otherwise come back half grey; harmless warnings
    make the file an unusual one. (One of them, extraneous bytes, may also end a scan that was damaged: libjpeg tells
    only its last warning. Every viewer shows such pictures.)
    """
    # The buffer holds libjpeg to the size that was read above and checked: a larger picture is refused.
    buffer = np.empty((header.height, header.width, 3), np.uint8)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", buffer=buffer)
    except ValueError as error:
        if any(text in str(error) for text in _UNUSUAL):
            raise UnusualJpeg(str(error)) from error
        raise
    return pixels


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the end of the image; what lies between them is passed over."""
    position = 2
    while match := _MARKER.search(data, position):
        start, marker = match.start(), data[match.end() - 1]
        if marker == _END_OF_IMAGE:
            return
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield marker, start, position
