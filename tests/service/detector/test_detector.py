"""One image in, its detections out, through the real engine."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.app import Service
from service.cache import CachedImage
from service.detector import Detected
from service.engine.protocol import ModelVersion
from service.errors import (
    DeadlineExceeded,
    EngineFailed,
    ImageTooLarge,
    Overloaded,
    UndecodableImage,
    UnsupportedImage,
)
from service.vision.detections import Candidates, Detections
from service.vision.letterbox import Letterbox
from service.vision.postprocess import PostprocessOptions, postprocess

pytestmark = pytest.mark.anyio

Encode = Callable[..., bytes]
Detect = Callable[..., Awaitable[Detected]]
MakeService = Callable[..., Awaitable[Service]]
Sample = Callable[..., float]
Until = Callable[..., Awaitable[None]]
BLOCKS = ModelVersion("blocks", "1")


def dotted(n: int) -> NDArray[np.uint8]:
    """A picture with one cell of its own."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[8 * (n % 16) :][:8, 8 * (n // 16) :][:, :8, n % 3] = 255
    return image


def assert_equal(one: Detections, other: Detections) -> None:
    for name in ("boxes", "scores", "class_ids"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


async def test_boxes_are_in_pixels_of_the_upright_original(service: Service, encode: Encode, detect: Detect):
    image = np.zeros((256, 512, 3), np.uint8)
    image[64:96, 128:160, 1] = 255
    found = await detect(service, encode(image))
    assert found.image_hw == (256, 512)
    np.testing.assert_allclose(found.detections.boxes, [[128, 64, 160, 96]], atol=1e-3)
    assert found.detections.class_ids.tolist() == [1]


@pytest.mark.parametrize("caching", ["off", "use"])
async def test_options_reach_the_answer(service: Service, png: bytes, detect: Detect, caching: str):
    assert len((await detect(service, png, caching=caching)).detections) == 2
    found = await detect(service, png, caching=caching, classes=(2,))
    assert found.detections.class_ids.tolist() == [2]
    assert len((await detect(service, png, caching=caching, confidence=0.9)).detections) == 1
    assert len((await detect(service, png, caching=caching, max_detections=1)).detections) == 1


@pytest.mark.parametrize("caching", ["off", "use"])
async def test_many_at_once_answer_as_one_by_one(service: Service, encode: Encode, detect: Detect, caching: str):
    pictures = [encode(dotted(n)) for n in range(24)]
    one_by_one = [await detect(service, data) for data in pictures]
    at_once = await asyncio.gather(*(detect(service, data, caching=caching) for data in pictures * 2))
    for alone, found in zip(one_by_one * 2, at_once, strict=True):
        assert_equal(alone.detections, found.detections)
        assert len(alone.detections) == 1


@pytest.mark.parametrize("count", [10, 200])
async def test_many_contenders_are_suppressed_in_a_thread_as_few_are_here(service: Service, count: int):
    bits = np.random.default_rng(5)
    corners = bits.integers(0, 100, (count, 2))
    boxes = np.concatenate([corners, corners + 20], 1).astype(np.float32)
    scores = np.sort(bits.random(count).astype(np.float32))[::-1]
    found = Candidates(boxes, scores, np.zeros(count, np.int32), np.arange(count, dtype=np.int32))
    entry = CachedImage(found, (128, 128), (128, 128), 0)
    options = PostprocessOptions(confidence=0.001)
    expected = postprocess(found, Letterbox.fit((128, 128), (128, 128)), options)
    assert_equal(await service.detector._postprocess(entry, options), expected)


async def test_stages_add_up_to_the_time_spent(service: Service, encode: Encode, detect: Detect):
    for caching, infers in (("off", True), ("use", True), ("use", False), ("refresh", True)):
        started = time.monotonic()
        found = await detect(service, encode(dotted(100)), caching=caching)
        spent = time.monotonic() - started
        assert list(found.stage_seconds) == ["decode", "preprocess", "cache", "queue", "infer", "postprocess"]
        assert 0 < sum(found.stage_seconds.values()) <= spent
        assert (found.stage_seconds["infer"] > 0) == infers


async def test_what_was_detected_is_counted(make_service: MakeService, png: bytes, detect: Detect, sample: Sample):
    service = await make_service()
    for _ in range(2):
        await detect(service, png, caching="use")
    assert sample(service, "inferences_total", model="blocks", version="1") == 1
    assert sample(service, "detections_per_image_sum") == 4
    assert sample(service, "image_pixels_sum") == 2 * 128 * 128
    for stage in ("decode", "preprocess", "cache", "queue", "infer", "postprocess"):
        assert sample(service, "stage_duration_seconds_count", stage=stage) == 2
    assert sample(service, "requests_in_flight") == 0
    assert sample(service, "concurrency_limit") == service.settings.max_in_flight


async def test_bad_images_fail_alone(service: Service, png: bytes, encode: Encode, detect: Detect):
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    answers = await asyncio.gather(
        detect(service, png), detect(service, png[:60]), detect(service, buffer.getvalue()),
        detect(service, b"dear diary"), detect(service, png),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(answer) for answer in answers[1:4]] == [UndecodableImage, ImageTooLarge, UnsupportedImage]
    assert len(answers[0].detections) == len(answers[4].detections) == 2


async def test_only_the_formats_that_were_chosen_are_taken(
    make_service: MakeService, encode: Encode, png: bytes, detect: Detect, picture: NDArray[np.uint8]
):
    service = await make_service(formats="png, jpeg")
    assert len((await detect(service, png)).detections) == 2
    with pytest.raises(UnsupportedImage):
        await detect(service, encode(picture, "BMP"))


@pytest.mark.parametrize("caching", ["off", "use"])
async def test_the_deadline_holds_while_every_thread_is_busy(
    make_service: MakeService, png: bytes, detect: Detect, caching: str
):
    service = await make_service(worker_threads=2)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    plugs = [service.threads.submit(asyncio.run_coroutine_threadsafe(release.wait(), loop).result) for _ in range(2)]
    with pytest.raises(DeadlineExceeded):
        await detect(service, png, timeout_s=0.05, caching=caching)
    release.set()
    await asyncio.gather(*map(asyncio.wrap_future, plugs))
    assert len((await detect(service, png, caching=caching)).detections) == 2


@pytest.mark.parametrize("caching", ["off", "use"])
async def test_whoever_leaves_frees_the_place_and_the_queue(
    make_service: MakeService,
    engine_with_switch,
    encode: Encode,
    detect: Detect,
    sample: Sample,
    caching: str,
    until: Until,
):
    service = await make_service(engine_with_switch)
    engine_with_switch.gate.clear()
    asked = [asyncio.ensure_future(detect(service, encode(dotted(n)), caching=caching)) for n in range(4)]
    await until(lambda: sample(service, "queue_length") == 2)
    for task in asked:
        task.cancel()
    await until(lambda: sample(service, "queue_length") == sample(service, "requests_in_flight") == 0)
    assert sample(service, "dropped_total", reason="cancelled") == 2
    engine_with_switch.gate.set()
    assert len((await detect(service, encode(dotted(9)))).detections) == 1


async def test_a_deadline_that_passes_in_the_queue_is_counted_as_expired(
    make_service: MakeService, engine_with_switch, encode: Encode, detect: Detect, sample: Sample, until: Until
):
    service = await make_service(engine_with_switch)
    engine_with_switch.gate.clear()
    held = [asyncio.ensure_future(detect(service, encode(dotted(n)))) for n in range(2)]
    await until(lambda: engine_with_switch.batches == 4)
    with pytest.raises(DeadlineExceeded):
        await detect(service, encode(dotted(2)), timeout_s=0.1)
    assert sample(service, "dropped_total", reason="expired") == 1
    engine_with_switch.gate.set()
    assert [len(found.detections) for found in await asyncio.gather(*held)] == [1, 1]


async def test_places_run_out_at_once_and_come_back(make_service: MakeService, sample: Sample):
    service = await make_service(max_in_flight=1)
    soon = time.monotonic() + 10
    with service.detector.place(soon):
        with pytest.raises(Overloaded), service.detector.place(soon):
            pass
        assert sample(service, "requests_in_flight") == 1
    with service.detector.place(soon):
        pass
    assert sample(service, "rejected_total", reason="places") == 1
    assert sample(service, "requests_in_flight") == 0


async def test_what_could_not_be_answered_in_time_is_refused_at_once(
    make_service: MakeService, engine_with_switch, encode: Encode, detect: Detect, sample: Sample, until: Until
):
    service = await make_service(engine_with_switch)
    engine_with_switch.gate.clear()
    asyncio.get_running_loop().call_later(0.5, engine_with_switch.gate.set)
    await detect(service, encode(dotted(0)))
    # The engine has just needed half a second, and is at it again.
    engine_with_switch.gate.clear()
    busy = asyncio.ensure_future(detect(service, encode(dotted(1))))
    await until(lambda: engine_with_switch.batches == 4)
    with pytest.raises(Overloaded, match="longer than the deadline allows") as caught:
        await detect(service, encode(dotted(2)), timeout_s=0.1)
    assert caught.value.retry_after_s >= 1
    assert sample(service, "rejected_total", reason="deadline") == 1
    engine_with_switch.gate.set()
    assert len((await busy).detections) == 1


async def test_pictures_that_are_still_to_come_count_in_what_is_predicted(
    make_service: MakeService, engine_with_switch, encode: Encode, detect: Detect
):
    service = await make_service(engine_with_switch)
    engine_with_switch.gate.clear()
    asyncio.get_running_loop().call_later(0.2, engine_with_switch.gate.set)
    await detect(service, encode(dotted(0)))
    await asyncio.sleep(0.01)
    with service.detector.place(time.monotonic() + 0.1):
        with pytest.raises(Overloaded), service.detector.place(time.monotonic() + 0.1):
            pass
        with service.detector.place(time.monotonic() + 10):
            pass
    with service.detector.place(time.monotonic() + 0.1):
        pass


async def test_an_unused_model_is_not_waited_for(service: Service):
    await service.detector.unused(BLOCKS)
    await service.detector.unused(ModelVersion("never", "1"))


async def test_a_used_model_is_waited_for_and_whoever_gives_up_harms_no_other(
    make_service: MakeService, engine_with_switch, encode: Encode, detect: Detect, until: Until
):
    service = await make_service(engine_with_switch)
    engine_with_switch.gate.clear()
    using = [asyncio.ensure_future(detect(service, encode(dotted(n)))) for n in range(3)]
    await until(lambda: engine_with_switch.batches == 4)
    waiting = asyncio.ensure_future(service.detector.unused(BLOCKS))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.detector.unused(BLOCKS), 0.01)
    assert not waiting.done()
    engine_with_switch.gate.set()
    await waiting
    assert all(task.done() for task in using)


async def test_a_picture_is_drawn_upright_with_its_detections(service: Service, png: bytes, detect: Detect):
    found = await detect(service, png)
    drawn = await service.detector.draw(png, found, service.models.resolve().spec, "image/png")
    with Image.open(io.BytesIO(drawn)) as annotated:
        assert annotated.size == (128, 128)
        assert len(set(annotated.get_flattened_data())) > 3


async def test_an_engine_that_fails_fails_the_request_and_raises_suspicion(
    make_service: MakeService, engine_with_switch, encode: Encode, detect: Detect
):
    service = await make_service(engine_with_switch)
    await service.models.aclose()  # who would look into it at once
    engine_with_switch.error = EngineFailed("down")
    with pytest.raises(EngineFailed, match="down"):
        await detect(service, encode(dotted(0)), caching="use")
    assert service.detector.suspects == {BLOCKS}
    assert service.detector.suspicion.is_set()
    engine_with_switch.error = None
    found = await detect(service, encode(dotted(0)), caching="use")
    assert found.cache == "miss"


async def test_a_batcher_that_has_stopped_shows(make_service: MakeService, png: bytes, detect: Detect):
    service = await make_service()
    assert service.detector.healthy
    service.batcher._policy._largest = None  # a bug, as far as the policy can tell
    with pytest.raises(EngineFailed, match="batching has stopped"):
        await detect(service, png)
    assert not service.detector.healthy
    assert service.reasons()["batching"] == "it has stopped"
