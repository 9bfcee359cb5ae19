"""Pictures to bytes and back through our own decoder."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.vision.detections import Detections
from service.vision.draw import draw
from service.vision.encode import MEDIA_TYPES, encode_picture
from service.vision.image import ImageTooLarge, decode, read_header


@pytest.fixture
def picture(photo: Image.Image) -> NDArray[np.uint8]:
    """The photo with a box on it, so with hard edges too."""
    found = Detections(np.float32([[100, 100, 400, 300]]), np.float32([0.9]), np.int32([0]))
    return draw(np.asarray(photo), found, ["cup"])


def test_jpeg_is_the_first_choice() -> None:
    assert MEDIA_TYPES == ("image/jpeg", "image/png", "image/webp")


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_what_is_encoded_is_that_type_and_shows_the_picture(picture: NDArray[np.uint8], media_type: str) -> None:
    data = encode_picture(picture, media_type)
    assert read_header(data, max_pixels=picture.size).format == media_type.removeprefix("image/").upper()
    difference = np.abs(decode(data).astype(int) - picture)
    assert difference.mean() < 3
    if media_type == "image/png":
        assert not difference.any()


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_the_same_picture_gives_the_same_bytes(picture: NDArray[np.uint8], media_type: str) -> None:
    data = encode_picture(picture, media_type)
    assert encode_picture(picture.copy(), media_type) == data
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    assert encode_picture(mirrored[:, ::-1], media_type) == data


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (3, 2), (16, 17)])
def test_any_small_size(media_type: str, size_hw: tuple[int, int]) -> None:
    red = np.zeros((*size_hw, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(decode(encode_picture(red, media_type)), red, atol=4)


@pytest.mark.parametrize(("media_type", "longest"), [("image/jpeg", 65_500), ("image/webp", 16_383)])
def test_the_longest_side_is_encoded_and_one_more_pixel_is_too_large(media_type: str, longest: int) -> None:
    assert decode(encode_picture(np.zeros((1, longest, 3), np.uint8), media_type)).shape == (1, longest, 3)
    for size_hw in ((1, longest + 1), (longest + 1, 1)):
        with pytest.raises(ImageTooLarge, match="at most"):
            encode_picture(np.zeros((*size_hw, 3), np.uint8), media_type)
