"""Pictures as they are handed over, and as each transport carries them.

Over HTTP an array becomes a JPEG of quality 95 without subsampling: PNG would lose nothing, but takes many times as
long to write, and detections hardly differ. Over gRPC it stays as it is, unless a quality is asked for.
"""

import os
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from service.streams.wire import detection_pb2 as pb

Pixels = NDArray[np.uint8]
Picture = str | os.PathLike[str] | bytes | Pixels

QUALITY = 95
# The service looks at the bytes itself; this is for what stands between.
SIGNATURES = {
    b"\xff\xd8": "image/jpeg",
    b"\x89PNG": "image/png",
    b"RIFF": "image/webp",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
UNKNOWN = "image/unknown"


def read_picture(picture: Picture) -> bytes:
    """The picture as a file. Reads and encodes, so it may take milliseconds.

    Raises OSError for a path that cannot be read, and ValueError for an array that is no (H, W, 3) uint8.
    """
    if isinstance(picture, np.ndarray):
        return encode_jpeg(picture, QUALITY)
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    return bytes(picture)


def media_type(data: bytes) -> str:
    """Of a picture's bytes."""
    return next((name for signature, name in SIGNATURES.items() if data.startswith(signature)), UNKNOWN)


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """(H, W, 3) uint8 RGB to a JPEG without chroma subsampling."""
    check_pixels(pixels)
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "444")
    return data


def to_message(picture: bytes | Pixels, *, jpeg_quality: int | None) -> pb.Image:
    """For gRPC: a file as it is, an array as bare pixels or, with a quality, as a JPEG."""
    if not isinstance(picture, np.ndarray):
        return pb.Image(encoded=picture)
    if jpeg_quality is not None:
        return pb.Image(encoded=encode_jpeg(picture, jpeg_quality))
    height, width = picture.shape[:2]
    return pb.Image(raw=pb.RawImage(format=pb.RawImage.RGB, width=width, height=height, data=picture.tobytes()))


def check_pixels(pixels: Pixels) -> None:
    """Raises ValueError for anything but (H, W, 3) uint8."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is (height, width, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
