"""Whatever the order in which frames come, engine and reader go on, and senders leave: one outcome each, in order."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.app import Service
from service.errors import EngineFailed
from service.live import Answered, Dropped, Every, Latest

pytestmark = pytest.mark.anyio

Camera = Any


@pytest.mark.parametrize("seed", range(6))
async def test_every_frame_has_one_outcome_and_all_are_in_order(
    make_service: Callable[..., Awaitable[Service]],
    engine_with_switch: Any,
    make_camera: Callable[[], Camera],
    running: Callable[..., Any],
    spoken_for: Callable[..., list[int]],
    seed: int,
):
    service = await make_service(engine_with_switch, max_in_flight=8, known_image_interval_s=3600)
    chance = random.Random(seed)
    cameras = [make_camera() for _ in range(4)]
    deliveries = [Latest(60.0), Latest(0.02), Every(5), Every(1)]
    async with asyncio.TaskGroup() as group:
        for camera, delivery in zip(cameras, deliveries, strict=True):
            group.create_task(run(service, camera, delivery, running))
        for sequence in range(60):
            for camera in cameras:
                torn = chance.random() < 0.1
                camera.shoot(sequence, picture=b"torn" if torn else None)
                (camera.gate.clear if chance.random() < 0.3 else camera.gate.set)()
            (engine_with_switch.gate.clear if chance.random() < 0.2 else engine_with_switch.gate.set)()
            engine_with_switch.error = EngineFailed("ill") if chance.random() < 0.1 else None
            await asyncio.sleep(chance.choice([0, 0, 0.001, 0.005]))
        engine_with_switch.gate.set()
        for camera in cameras:
            camera.gate.set()
            camera.leave()
    for camera, delivery in zip(cameras, deliveries, strict=True):
        assert spoken_for(camera.answers) == list(range(60))
        assert isinstance(delivery, Latest) or not any(isinstance(answer, Dropped) for answer in camera.answers)
        assert any(isinstance(answer, Answered) for answer in camera.answers) or delivery == Latest(0.02)
    assert service.streams._turns.under_way == service.detector._places._taken == 0


async def run(service: Service, camera: Camera, delivery: Latest | Every, running: Callable[..., Any]) -> None:
    async with running(service, camera, delivery) as (_, task):
        await task
