"""A photo, and the ways of writing it down that the image tests share."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import skimage.data
from PIL import Image


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def save() -> Callable[..., bytes]:
    """Function (image, format, **Pillow's options) -> the file's bytes."""
    return _save


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A real photo, 773×512."""
    return Image.fromarray(skimage.data.coffee()).resize((773, 512))


@pytest.fixture(scope="session")
def thumbnail(photo: Image.Image) -> Image.Image:
    """The photo at 64×48, for tests over many files."""
    return photo.resize((64, 48))


@pytest.fixture(scope="session")
def files(thumbnail: Image.Image) -> dict[str, bytes]:
    """The thumbnail as a file of every kind that is taken and must decode."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = [thumbnail.rotate(90)]
    return {
        "jpeg": _save(thumbnail, "JPEG", exif=exif),
        "jpeg-progressive": _save(thumbnail, "JPEG", progressive=True),
        "jpeg-grey": _save(thumbnail.convert("L"), "JPEG"),
        "jpeg-cmyk": _save(thumbnail.convert("CMYK"), "JPEG"),
        "png": _save(thumbnail, "PNG", exif=exif),
        "png-palette": _save(thumbnail.quantize(16), "PNG", transparency=3),
        "png-alpha": _save(thumbnail.convert("RGBA"), "PNG"),
        "png-animated": _save(thumbnail, "PNG", save_all=True, append_images=turned),
        "png-grey16": _save(Image.fromarray(np.asarray(thumbnail.convert("L")).astype(np.uint16) * 257), "PNG"),
        "webp": _save(thumbnail, "WEBP", exif=exif),
        "webp-lossless": _save(thumbnail.convert("RGBA"), "WEBP", lossless=True),
        "webp-animated": _save(thumbnail, "WEBP", save_all=True, append_images=turned),
        "bmp": _save(thumbnail, "BMP"),
        "bmp-palette": _save(thumbnail.quantize(16), "BMP"),
        "gif": _save(thumbnail, "GIF"),
        "gif-animated": _save(thumbnail, "GIF", save_all=True, append_images=turned),
        "tiff": _save(thumbnail, "TIFF", exif=exif),
        "tiff-lzw": _save(thumbnail, "TIFF", compression="tiff_lzw"),
        "tiff-fax": _save(thumbnail.convert("1"), "TIFF", compression="group4"),
        "tiff-jpeg": _save(thumbnail, "TIFF", compression="jpeg"),
    }
