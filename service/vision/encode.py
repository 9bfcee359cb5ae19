"""A picture to the bytes of a file that a browser shows. Knows nothing of requests or of how the picture was made.

Each format by the encoder that is fastest for it, measured on 1920×1080 and one core: JPEG 4 ms by libjpeg-turbo, PNG
54 ms by OpenCV (Pillow 114), WebP 46 ms by Pillow at its quickest method (OpenCV, which cannot choose one, 140).
The same picture gives the same bytes as long as the libraries stay the same.
"""

import io
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from service.vision.image import ImageTooLarge

QUALITY = 90
"""Of JPEG and WebP. Higher, files double; much lower, letters fray."""


def encode_picture(image: NDArray[np.uint8], media_type: str) -> bytes:
    """A file of the picture. PNG keeps every pixel; JPEG and WebP lose a little, JPEG half the resolution of colour.

    image: (H, W, 3) uint8 RGB. media_type: one of MEDIA_TYPES.
    Raises ImageTooLarge where the format has no room for so long a side.
    """
    encode, longest = _ENCODERS[media_type]
    height, width = image.shape[:2]
    if max(height, width) > longest:
        raise ImageTooLarge(
            f"the picture has {width} x {height} pixels; a side of {media_type} has at most {longest:,}"
        )
    return encode(np.ascontiguousarray(image))


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    # The accurate transform is as fast as the one that is called fast.
    data: bytes = simplejpeg.encode_jpeg(
        image, quality=QUALITY, colorspace="RGB", colorsubsampling="420", fastdct=False
    )
    return data


def _png(image: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, "OpenCV writes PNG of any size"
    return data.tobytes()


def _webp(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", quality=QUALITY, method=0)
    return file.getvalue()


# With the longest side that each format can have.
_ENCODERS: dict[str, tuple[Callable[[NDArray[np.uint8]], bytes], int]] = {
    "image/jpeg": (_jpeg, 65_500),
    "image/png": (_png, 1_000_000),
    "image/webp": (_webp, 16_383),
}

MEDIA_TYPES = tuple(_ENCODERS)
"""What encode_picture can make, the best choice for a photo first."""
