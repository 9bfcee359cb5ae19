"""Decode + letterbox beside the two library calls that it cannot do without.

    .venv/bin/python bench/decode.py [PHOTO.jpg]

Without a photo, one of scikit-image's is re-encoded as a 773×512 JPEG of quality 90.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from photos import photos
from rounds import interleave, report

from service.vision.image import decode
from service.vision.letterbox import Letterbox

_REPEATS = 300
_SHAPE_HW = (640, 640)


def main() -> None:
    """Measure and print milliseconds per image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, nargs="?")
    photo = parser.parse_args().photo
    jpeg = photo.read_bytes() if photo else photos((773, 512))["coffee"]
    slot = np.empty((*_SHAPE_HW, 3), np.uint8)

    def ours() -> None:
        image = decode(jpeg)
        Letterbox.fit((image.shape[0], image.shape[1]), _SHAPE_HW).apply(image, out=slot)

    def bare() -> None:
        image = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
        ratio = min(_SHAPE_HW[0] / image.shape[0], _SHAPE_HW[1] / image.shape[1])
        cv2.resize(image, (round(image.shape[1] * ratio), round(image.shape[0] * ratio)))

    cv2.setNumThreads(1)
    figures = interleave(
        {"simplejpeg + cv2.resize": lambda: _milliseconds(bare), "decode + letterbox": lambda: _milliseconds(ours)}
    )
    report(f"one {len(jpeg)} byte JPEG to {_SHAPE_HW}, one thread", "ms", figures, reference="simplejpeg + cv2.resize")


def _milliseconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    for _ in range(_REPEATS):
        work()
    return (time.perf_counter() - started) / _REPEATS * 1e3


if __name__ == "__main__":
    main()
