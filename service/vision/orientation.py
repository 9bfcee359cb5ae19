"""Exif orientation: reading the one tag, and turning pixels upright by it. Nothing else of Exif.

Pillow can read Exif too, but it warns where a block is damaged, which is no reason to refuse a picture or to speak up.
"""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

UPRIGHT = 1
_TAG = 0x0112
_SHORT = 3


def read_orientation(exif: bytes) -> int:
    """1 to 8 as Exif counts them; 1 (upright) where the block does not say so in a form that can be read.

    exif: the TIFF structure, with or without the leading `Exif` marker; may be damaged or hostile.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"]
    if exif[:2] == b"II":
        order = "little"
    elif exif[:2] == b"MM":
        order = "big"
    else:
        return UPRIGHT
    directory = int.from_bytes(exif[4:8], order)
    entries = int.from_bytes(exif[directory : directory + 2], order)
    for start in range(directory + 2, min(directory + 2 + 12 * entries, len(exif)), 12):
        tag, kind = int.from_bytes(exif[start : start + 2], order), int.from_bytes(exif[start + 2 : start + 4], order)
        if tag == _TAG:
            value = int.from_bytes(exif[start + 8 : start + 10], order)
            return value if kind == _SHORT and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) as stored, to how the photographer saw them: (H, W, 3) or, for 5 to 8, (W, H, 3); contiguous.

    By OpenCV, which turns a 12-megapixel phone photo several times faster than NumPy copies a transposed view.
    """
    match orientation:
        case 2:
            turned = cv2.flip(pixels, 1)
        case 3:
            turned = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(pixels, 0)
        case 5:
            turned = cv2.transpose(pixels)
        case 6:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.transpose(cv2.rotate(pixels, cv2.ROTATE_180))
        case 8:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return pixels
    return turned.astype(np.uint8, copy=False)
