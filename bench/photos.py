"""The photos that the measurements post: scikit-image's, cut to a size and encoded as JPEG, or files that are given.

    .venv/bin/python bench/photos.py FOLDER [--size 773x512]

writes them, so that others may be measured with the same bytes. Copies of a photo differ in a comment that no decoder
looks at: a service may answer identical bytes from a cache or infer them once for all, so where that is not what is
measured, no two requests in flight carry the same ones.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from pair import parse_pair
from skimage import data

_NAMES = ("coffee", "chelsea", "astronaut", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")
_QUALITY = 90
_START_OF_IMAGE = 2  # bytes of the marker that a comment follows


def photos(size_wh: tuple[int, int]) -> dict[str, bytes]:
    """JPEGs of ``size_wh`` by name: each photo enlarged until it covers the size, and its middle."""
    return {name: _encode(getattr(data, name)(), size_wh) for name in _NAMES}


def copies(jpegs: Sequence[bytes], count: int) -> list[bytes]:
    """``count`` JPEGs, the given ones in turn, each with a comment of its own."""
    return [_commented(jpegs[number % len(jpegs)], f"{number:012d}".encode()) for number in range(count)]


def add_arguments(parser: argparse.ArgumentParser, *, size: str = "773x512") -> None:
    """The arguments that ``chosen`` reads."""
    parser.add_argument("photos", type=Path, nargs="*", help="JPEGs to post (default: scikit-image's photos)")
    parser.add_argument("--size", type=parse_pair, default=size, metavar="WxH", help=f"of the default ones ({size})")


def chosen(arguments: argparse.Namespace) -> list[bytes]:
    """The JPEGs that a command line asks for."""
    if arguments.photos:
        return [path.read_bytes() for path in arguments.photos]
    return list(photos(arguments.size).values())


def main() -> None:
    """Write the photos."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=parse_pair, default="773x512", metavar="WxH")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, jpeg in photos(arguments.size).items():
        path = arguments.folder / f"{name}.jpg"
        path.write_bytes(jpeg)
        print(f"{path}  {len(jpeg)} bytes")


def _encode(image: np.ndarray, size_wh: tuple[int, int]) -> bytes:
    width, height = size_wh
    ratio = max(width / image.shape[1], height / image.shape[0])
    covering = max(round(image.shape[1] * ratio), width), max(round(image.shape[0] * ratio), height)
    resized = cv2.resize(image[..., :3], covering, interpolation=cv2.INTER_CUBIC)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    middle = np.ascontiguousarray(resized[top : top + height, left : left + width])
    return bytes(simplejpeg.encode_jpeg(middle, quality=_QUALITY, colorspace="RGB"))


def _commented(jpeg: bytes, text: bytes) -> bytes:
    segment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
    return jpeg[:_START_OF_IMAGE] + segment + jpeg[_START_OF_IMAGE:]


if __name__ == "__main__":
    main()
