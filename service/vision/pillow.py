"""PNG, WebP, BMP, GIF, TIFF and CMYK JPEG through Pillow: opened without pixels, then turned into upright 8-bit RGB.

Pillow's classes are called directly, so only these formats can ever be tried, and its own size limit, which warns,
stays out of the way. Raises whatever Pillow raises; image.py says what that means to a caller.
"""

import ctypes
import logging
import threading
import warnings
from functools import cache
from io import BytesIO
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, _imaging
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.vision.orientation import UPRIGHT, read_orientation, turn_upright

GREY = 114
"""What shows through transparent pixels: the grey of the letterbox."""

_WHITE_IS_ZERO = 0

_CLASSES: dict[str, type[ImageFile]] = {
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}


class _Silence:
    """While at least one thread is inside, Pillow's warnings are ignored: they are about files, and ours to judge.

    Counted, because warnings.catch_warnings replaces a list of the whole process: two threads that each entered and
    left it would put back one another's filters.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(kind, error, trace)


SILENCE = _Silence()


def open_image(data: bytes, kind: str) -> ImageFile:
    """The first frame, its header read and its pixels not. Call within SILENCE."""
    if kind == "TIFF":
        _hush_tiff()
    return _CLASSES[kind](BytesIO(data))


def stored_size(image: ImageFile) -> tuple[int, int, int]:
    """Width and height as stored, and the Exif orientation as far as what was read of the file tells it."""
    orientation = _orientation(image)
    width, height = image.size
    # Pillow gives TIFF's size as it will be once turned.
    if isinstance(image, TiffImageFile) and orientation >= 5:
        width, height = height, width
    return width, height, orientation


def to_rgb(image: ImageFile) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB upright; 16 bits scaled to 8, palettes looked up, alpha on grey. Call within SILENCE."""
    image.load()
    if image.mode.startswith("I;16"):
        pixels = _grey16_to_rgb(image)
    elif image.mode in ("I", "F"):
        raise ValueError("samples of 32 bits have no known range")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGB", image.size, (GREY, GREY, GREY))
        ground.paste(layer, mask=layer.getchannel("A"))
        pixels = np.array(ground)
    else:
        pixels = np.array(image.convert("RGB"))
    # Pillow turns TIFF itself, while it loads.
    return pixels if isinstance(image, TiffImageFile) else turn_upright(pixels, _orientation(image))


@cache
def _hush_tiff() -> None:
    """Once per process: a damaged TIFF writes thousands of lines to stderr, from C and past all logging."""
    logging.getLogger(TiffImagePlugin.__name__).setLevel(logging.CRITICAL)
    # Found through the extension in the libtiff it is linked to; a Pillow without libtiff has none to hush.
    set_handler = getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", lambda handler: handler)
    set_handler(None)


def _orientation(image: ImageFile) -> int:
    if isinstance(image, TiffImageFile):
        tag = image.tag_v2.get(Base.Orientation)
        return tag if isinstance(tag, int) and 1 <= tag <= 8 else UPRIGHT
    return read_orientation(image.info.get("exif", b""))


def _grey16_to_rgb(image: ImageFile) -> NDArray[np.uint8]:
    """Grey of 16 bits; in a TIFF also of 12, or with white as zero."""
    samples = np.asarray(image)
    grey = samples
    bits = 16
    if isinstance(image, TiffImageFile):
        (bits,) = image.tag_v2[Base.BitsPerSample]
        if image.tag_v2.get(Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
            grey = (1 << bits) - 1 - samples
    # The high byte, as Pillow takes it from 16-bit RGB: the same picture in both forms comes out the same.
    pixels = np.repeat((grey >> (bits - 8)).astype(np.uint8)[..., None], 3, axis=2)
    if "transparency" in image.info:
        pixels[samples == image.info["transparency"]] = GREY
    return pixels
