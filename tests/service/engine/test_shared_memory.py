"""Images through shared memory to a real tritonserver: the same answers, and nothing left behind."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import aio

from service.engine.protocol import ModelVersion, Target
from service.engine.repository import open_model
from service.engine.shared_memory import LEAST_BYTES, Slots
from service.engine.triton import TritonEngine
from service.vision.spec import generate_image

pytestmark = pytest.mark.anyio

SHAPE = (128, 128)
TARGET = Target(ModelVersion("blocks", "1"), SHAPE)


@pytest.fixture
async def engines(make_engine: Callable[..., Any], server: Any, triton_root: Path) -> list[TritonEngine]:
    """One with shared memory, and one without."""
    made = [await make_engine(server.url, shared_memory=choice, parallelism=3) for choice in ("on", "off")]
    for engine in made:
        await engine.load(open_model(triton_root, "blocks", "1"))
    return made


def regions() -> set[str]:
    return {region.name for region in Path("/dev/shm").glob(f"yolov7-{os.getpid()}-*")}


def soon() -> float:
    return time.monotonic() + 10


async def test_answers_are_the_same_either_way(engines: list[TritonEngine]):
    for count in (1, 8, 3):
        images = [generate_image(seed, SHAPE) for seed in range(count)]
        one, other = [await engine.infer(TARGET, images, deadline=soon()) for engine in engines]
        for mapped, sent in zip(one, other, strict=True):
            np.testing.assert_array_equal(mapped.scores, sent.scores)
            np.testing.assert_array_equal(mapped.boxes, sent.boxes)
    assert len(regions()) == 1


async def test_more_batches_than_slots_are_all_answered(engines: list[TritonEngine]):
    images = [generate_image(seed, SHAPE) for seed in range(12)]
    found = await asyncio.gather(*(engines[0].infer(TARGET, [image], deadline=soon()) for image in images))
    expected = await engines[1].infer(TARGET, images[:8], deadline=soon())
    for (one,), other in zip(found, expected, strict=False):
        np.testing.assert_array_equal(one.scores, other.scores)
    assert len(regions()) == 3


async def test_a_server_that_forgot_the_memory_is_told_again(engines: list[TritonEngine], server: Any):
    image = generate_image(1, SHAPE)
    (before,) = await engines[0].infer(TARGET, [image], deadline=soon())
    async with aio.InferenceServerClient(server.url) as client:
        await client.unregister_system_shared_memory(client_timeout=1)
        (after,) = await engines[0].infer(TARGET, [image], deadline=soon())
        known = await client.get_system_shared_memory_status(client_timeout=1)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert set(known.regions) == regions()


async def test_memory_that_the_server_cannot_reach_is_done_without(
    engines: list[TritonEngine], server: Any, caplog: pytest.LogCaptureFixture
):
    image = generate_image(1, SHAPE)
    await engines[0].infer(TARGET, [image], deadline=soon())
    (region,) = (Path("/dev/shm", name) for name in regions())
    hidden = region.rename(region.with_name(f"hidden-{region.name}"))
    try:
        async with aio.InferenceServerClient(server.url) as client:
            await client.unregister_system_shared_memory(client_timeout=1)
        for _ in range(2):
            assert len(await engines[0].infer(TARGET, [image], deadline=soon())) == 1
    finally:
        hidden.rename(region)
    assert caplog.text.count("cannot reach our shared memory") == 1


async def test_nothing_is_left_behind(make_engine: Callable[..., Any], server: Any, triton_root: Path):
    engine = await make_engine(server.url, shared_memory="auto")
    await engine.load(open_model(triton_root, "blocks", "1"))
    for count in (1, 8):
        await engine.infer(TARGET, [generate_image(seed, SHAPE) for seed in range(count)], deadline=soon())
    assert regions()
    await engine.aclose()
    assert not regions()


def test_without_room_there_is_no_slot(caplog: pytest.LogCaptureFixture):
    slots = Slots(2)
    assert slots.take(1 << 50) is None
    assert slots.take(1) is None
    assert caplog.text.count("no shared memory for images") == 1
    assert not regions()


def test_a_slot_that_is_too_small_is_replaced():
    slots = Slots(2)
    small, other = slots.take(1), slots.take(1)
    assert slots.take(1) is None
    slots.give_back(small)
    large = slots.take(LEAST_BYTES + 1)
    assert (large.byte_size, slots.retired) == (2 * LEAST_BYTES, {small.name})
    for slot in (large, other):
        slots.give_back(slot)
    assert slots.take(LEAST_BYTES + 1) is large
    slots.give_back(large)
    slots.close()
    assert not regions()
