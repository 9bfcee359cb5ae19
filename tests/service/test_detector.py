"""One image in, its detections out, through the real engine."""

import asyncio
import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.app import Service
from service.errors import DeadlineExceeded, ImageTooLarge, Overloaded, UndecodableImage
from service.vision.postprocess import PostprocessOptions

pytestmark = pytest.mark.anyio

Encode = Callable[..., bytes]


def soon() -> float:
    return time.monotonic() + 10


async def detect(service: Service, data: bytes, **options: object):
    chosen = PostprocessOptions(**options)
    return await service.detector.detect(data, service.models.resolve(), options=chosen, deadline=soon())


async def test_boxes_are_in_pixels_of_the_upright_original(service: Service, encode: Encode):
    image = np.zeros((256, 512, 3), np.uint8)
    image[64:96, 128:160, 1] = 255
    found = await detect(service, encode(image))
    assert found.image_hw == (256, 512)
    np.testing.assert_allclose(found.detections.boxes, [[128, 64, 160, 96]], atol=1e-3)
    assert found.detections.class_ids.tolist() == [1]


async def test_options_reach_the_answer(service: Service, png: bytes):
    assert len((await detect(service, png)).detections) == 2
    assert (await detect(service, png, classes=(2,))).detections.class_ids.tolist() == [2]
    assert len((await detect(service, png, confidence=0.9)).detections) == 1
    assert len((await detect(service, png, max_detections=1)).detections) == 1


async def test_many_at_once_answer_as_one_by_one(service: Service, encode: Encode):
    def dotted(n: int) -> bytes:
        image = np.zeros((128, 128, 3), np.uint8)
        image[8 * (n % 16) :][:8, 8 * (n // 2) :][:, :8, n % 3] = 255
        return encode(image)

    pictures = [dotted(n) for n in range(24)]
    one_by_one = [(await detect(service, data)).detections for data in pictures]
    at_once = await asyncio.gather(*(detect(service, data) for data in pictures))
    for alone, found in zip(one_by_one, at_once, strict=True):
        np.testing.assert_array_equal(alone.boxes, found.detections.boxes)
        assert len(alone) == 1


async def test_stages_add_up_to_the_time_spent(service: Service, png: bytes):
    started = time.monotonic()
    found = await detect(service, png)
    spent = time.monotonic() - started
    assert list(found.stage_seconds) == ["decode", "preprocess", "queue", "infer", "postprocess"]
    assert 0 < sum(found.stage_seconds.values()) <= spent


async def test_bad_images_fail_alone(service: Service, png: bytes):
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    large = buffer.getvalue()
    answers = await asyncio.gather(
        detect(service, png), detect(service, png[:60]), detect(service, large), detect(service, png),
        return_exceptions=True,
    )  # fmt: skip
    kinds = [type(answer) for answer in answers]
    assert kinds[1:3] == [UndecodableImage, ImageTooLarge]
    assert kinds[0] is kinds[3]
    assert len(answers[0].detections) == 2


async def test_the_deadline_holds_while_every_thread_is_busy(service: Service, png: bytes):
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    plugs = [service.threads.submit(asyncio.run_coroutine_threadsafe(release.wait(), loop).result) for _ in range(8)]
    with pytest.raises(DeadlineExceeded):
        await service.detector.detect(
            png, service.models.resolve(), options=PostprocessOptions(), deadline=time.monotonic() + 0.05
        )
    release.set()
    await asyncio.gather(*map(asyncio.wrap_future, plugs))
    assert len((await detect(service, png)).detections) == 2


async def test_places_run_out_at_once_and_come_back(make_settings: Callable[..., object]):
    service = Service(make_settings(max_in_flight=1))
    with service.detector.place():
        with pytest.raises(Overloaded), service.detector.place():
            pass
        assert service.metrics.registry.get_sample_value("yolov7_requests_in_flight") == 1
    with service.detector.place():
        pass
    assert service.metrics.registry.get_sample_value("yolov7_rejected_total", {"reason": "places"}) == 1
    await service.aclose()
