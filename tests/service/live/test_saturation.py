"""Several streams at an engine that is held by hand: whose frames run, how many, and what the others become."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.app import Service
from service.live import Answered, Every, Latest

pytestmark = pytest.mark.anyio

Camera = Any
MakeCamera = Callable[[], Camera]
Running = Callable[..., Any]
Until = Callable[..., Awaitable[None]]
Sample = Callable[..., float]


@pytest.fixture
async def held(make_service: Callable[..., Awaitable[Service]], stepped: Any) -> AsyncIterator[Service]:
    """A service whose engine waits for its steps."""
    service = await make_service(stepped, worker_threads=1, known_image_interval_s=3600)
    stepped.held = True
    yield service
    stepped.held = False
    stepped.step(1000)


async def test_the_newest_frame_is_taken_only_when_its_turn_comes(
    held: Service, stepped: Any, camera: Camera, running: Running, until: Until
):
    async with running(held, camera):
        camera.shoot(1)
        await until(lambda: stepped.begun == 1)
        camera.shoot(2, 3, 4)
        await until(lambda: camera.pulled == 4)
        stepped.step()
        await until(lambda: stepped.begun == 2)
        stepped.step()
        await until(lambda: len(camera.answers) == 3)
        assert camera.told == [("answered", 1, 1), ("replaced", 2, 3), ("answered", 4, 4)]


async def test_one_camera_makes_no_queue_of_its_own(
    held: Service, stepped: Any, camera: Camera, running: Running, sample: Sample, until: Until
):
    async with running(held, camera):
        for sequence in range(20):
            camera.shoot(sequence)
            await until(lambda sequence=sequence: camera.pulled == sequence + 1)
        await until(lambda: stepped.begun == 1)
        assert (sample(held, "requests_in_flight"), sample(held, "queue_length")) == (1, 0)


async def test_a_greedy_stream_beside_cameras_gets_its_share_and_no_more(
    held: Service, stepped: Any, make_camera: MakeCamera, running: Running, until: Until
):
    cameras, greedy = [make_camera() for _ in range(3)], make_camera()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(held, greedy, Every(16)))
        greedy.shoot(*range(200))
        await until(lambda: greedy.pulled == 16 and stepped.begun == 1)
        for camera in cameras:
            await stack.enter_async_context(running(held, camera))
        for step in range(40):
            for camera in cameras:
                camera.shoot(2 * step, 2 * step + 1)
            await until(lambda step=step: all(camera.pulled == 2 * step + 2 for camera in cameras))
            stepped.step()
            await until(lambda step=step: stepped.begun == step + 2)
        answered = [sum(isinstance(it, Answered) for it in camera.answers) for camera in (greedy, *cameras)]
        assert sum(answered) >= 38
        assert max(answered) - min(answered) <= 3


async def test_credits_bound_what_is_read(held: Service, stepped: Any, camera: Camera, running: Running, until: Until):
    async with running(held, camera, Every(3)):
        camera.shoot(*range(10))
        await until(lambda: camera.pulled == 3 and stepped.begun == 1)
        for answers in range(1, 6):
            stepped.step()
            await until(lambda answers=answers: camera.pulled == 3 + answers)
        assert camera.told == [("answered", number, number) for number in range(5)]


async def test_a_slow_reader_stops_answers_but_takes_no_memory(
    service: Service, camera: Camera, running: Running, until: Until, spoken_for: Callable[..., list[int]]
):
    camera.gate.clear()
    async with running(service, camera, Latest(60.0)) as (stream, task):
        for sequence in range(400):
            camera.shoot(sequence)
            await until(lambda sequence=sequence: camera.pulled == sequence + 1 and not stream._tasks)
        assert len(stream._order) <= 34
        assert sum(bool(slot.frame.picture) for slot in stream._order._slots) == 1
        camera.gate.set()
        camera.leave()
        await task
    assert spoken_for(camera.answers) == list(range(400))
    assert Counter(kind for kind, _, _ in camera.told)["answered"] == 34


async def test_a_frame_that_could_not_be_in_time_is_stale_and_runs_nothing(
    held: Service, stepped: Any, camera: Camera, running: Running, until: Until
):
    async with running(held, camera, Latest(0.5)):
        camera.shoot(1, age_s=0.6)
        await until(lambda: bool(camera.answers))
        assert (camera.told, stepped.begun) == ([("stale", 1, 1)], 0)


async def test_a_frame_is_stale_at_the_end_of_its_budget(
    held: Service, stepped: Any, camera: Camera, running: Running, until: Until
):
    async with running(held, camera, Latest(0.05)):
        camera.shoot(1)
        await until(lambda: bool(camera.answers))
        assert (camera.told, stepped.begun) == ([("stale", 1, 1)], 1)
