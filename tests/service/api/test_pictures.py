"""The picture with its detections drawn into it, where a client's Accept prefers one."""

import io
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytestmark = pytest.mark.anyio

Post = Callable[..., Awaitable[httpx.Response]]
KINDS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


def opened(answer: httpx.Response) -> Image.Image:
    image = Image.open(io.BytesIO(answer.content))
    image.load()
    return image


@pytest.mark.parametrize("media_type", KINDS)
async def test_each_type_can_be_opened(client: httpx.AsyncClient, post: Post, png: bytes, media_type: str):
    answer = await post(client, png, accept=media_type)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    image = opened(answer)
    assert (image.format, image.size) == (KINDS[media_type], (128, 128))
    assert answer.headers["server-timing"].startswith("receive;dur=")
    assert answer.headers["cache-status"].startswith("yolov7-service; ")


async def test_a_turned_photo_comes_back_upright(client: httpx.AsyncClient, post: Post):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100)).save(buffer, "JPEG", exif=exif)
    answer = await post(client, buffer.getvalue(), content_type="image/jpeg", accept="image/*")
    assert opened(answer).size == (100, 200)
    assert 0x0112 not in opened(answer).getexif()


async def test_what_is_drawn_is_what_is_detected(
    client: httpx.AsyncClient, post: Post, png: bytes, picture: NDArray[np.uint8], encode: Callable[..., bytes]
):
    pixels = np.asarray(opened(await post(client, png, accept="image/png")))
    assert not np.array_equal(pixels, picture)
    # Both boxes and labels are drawn where a threshold lets both through, one where it does not.
    red_only = np.asarray(opened(await post(client, png, "?classes=red", accept="image/png")))
    none = np.asarray(opened(await post(client, png, "?classes=green", accept="image/png")))
    assert np.array_equal(none, picture)
    assert 0 < (red_only != picture).sum() < (pixels != picture).sum()


async def test_an_error_is_a_problem_even_where_a_picture_was_asked_for(client: httpx.AsyncClient, post: Post):
    answer = await post(client, b"no picture", accept="image/png")
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")
