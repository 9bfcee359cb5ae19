"""Images through shared memory to a real tritonserver: the same answers, and nothing left behind."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import aio

from service.engine.protocol import ModelVersion, Target
from service.engine.repository import open_model
from service.engine.shared_memory import LEAST_BYTES, RETRY_S, Slots, sweep
from service.engine.triton import TritonEngine
from service.vision.spec import generate_image

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

SHAPE = (128, 128)
LARGE = (512, 512)
TARGET = Target(ModelVersion("blocks", "1"), SHAPE)


@pytest.fixture
async def engines(make_engine: Callable[..., Any], server: Any, triton_root: Path) -> list[TritonEngine]:
    """One with shared memory, and one without."""
    made = [await make_engine(server.url, shared_memory=choice, parallelism=3) for choice in ("on", "off")]
    for engine in made:
        await engine.load(open_model(triton_root, "blocks", "1"))
    return made


def regions() -> set[str]:
    return {region.name for region in Path("/dev/shm").glob(f"yolov7-gateway-{os.getpid()}-*")}


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


async def test_large_batches_are_the_same_either_way_and_outlive_a_cancelled_one(engines: list[TritonEngine]):
    """They are copied in a thread."""
    target, cancelled = Target(ModelVersion("blocks", "1"), LARGE), [generate_image(9, LARGE)] * 8
    for engine in engines:
        given_up = asyncio.ensure_future(engine.infer(target, cancelled, deadline=soon()))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
    images = [generate_image(seed, LARGE) for seed in range(8)]
    one, other = [await engine.infer(target, images, deadline=soon()) for engine in engines]
    for mapped, sent in zip(one, other, strict=True):
        np.testing.assert_array_equal(mapped.scores, sent.scores)
        np.testing.assert_array_equal(mapped.boxes, sent.boxes)


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


def test_room_is_looked_for_again_after_a_while():
    now = [0.0]
    slots = Slots(2, clock=lambda: now[0])
    had = slots.take(1)
    slots.give_back(had)
    assert slots.take(1 << 50) is None
    assert slots.take(1) is had
    assert slots.take(1) is None
    now[0] = RETRY_S
    slots.give_back(slots.take(1))
    slots.give_back(had)
    slots.close()
    assert not regions()


def test_what_a_killed_process_left_is_given_back_and_nothing_of_a_living_one():
    code = "import os, signal; from service.engine.shared_memory import Slot; print(Slot(1 << 20).name, flush=True)\n"
    # Its resource tracker would clean up; that dies too where a whole container does.
    code += "from multiprocessing.resource_tracker import _resource_tracker as tracker\n"
    code += "os.kill(tracker._pid, signal.SIGKILL); input()"
    living = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    region = Path("/dev/shm", living.stdout.readline().strip())
    sweep()
    assert region.exists()
    living.kill()
    living.communicate()
    assert region.exists()
    sweep()
    assert not region.exists()


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
