from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.client.picture import encode_jpeg, media_type, read_picture, to_message
from service.streams.messages import read_picture as serve_picture
from service.vision.image import decode
from service.vision.raw import RawImage


@pytest.mark.parametrize("as_text", [True, False])
def test_a_path_is_read(tmp_path: Path, png: bytes, as_text: bool):
    path = tmp_path / "a.png"
    path.write_bytes(png)
    assert read_picture(str(path) if as_text else path) == png


def test_bytes_go_as_they_are(png: bytes):
    assert read_picture(png) is png
    assert to_message(png, jpeg_quality=90).encoded == png


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_type_is_told_by_the_bytes(picture: NDArray[np.uint8], encode, kind: str):
    assert media_type(encode(picture, kind)) == f"image/{kind.lower()}"
    assert media_type(b"who knows") == "image/unknown"


def test_an_array_is_close_to_itself_as_a_jpeg(picture: NDArray[np.uint8]):
    decoded = decode(read_picture(picture), max_pixels=1 << 20)
    assert np.abs(decoded.astype(int) - picture).max() < 12


def test_an_array_goes_bare_and_exact_over_grpc(picture: NDArray[np.uint8]):
    upside_down = picture[::-1, ::2]  # not contiguous
    served = serve_picture(to_message(upside_down, jpeg_quality=None), max_bytes=1 << 20)
    assert isinstance(served, RawImage)
    assert np.array_equal(served.to_rgb(max_pixels=1 << 20), upside_down)


def test_a_quality_makes_it_a_jpeg(picture: NDArray[np.uint8]):
    assert to_message(picture, jpeg_quality=80).encoded == encode_jpeg(picture, 80)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_of_another_kind_is_refused(wrong: NDArray[np.uint8]):
    with pytest.raises(ValueError, match=r"\(height, width, 3\) uint8 RGB"):
        read_picture(wrong)
