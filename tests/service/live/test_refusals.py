"""Rates, full places and an engine that is away, and a model that changes: what each does to frames in mid-stream."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.access import Client, Rate
from service.app import Service
from service.errors import EngineDown
from service.live import Every, Latest
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

Camera = Any
MakeService = Callable[..., Awaitable[Service]]
Running = Callable[..., Any]
Sample = Callable[..., float]
Until = Callable[..., Awaitable[None]]


def rated(name: str, limit: int, window_s: int) -> Client:
    return Client(name, frozenset({"detect"}), Rate(limit, window_s))


async def test_the_newest_frame_is_dropped_where_the_rate_is_used_up(
    service: Service, camera: Camera, running: Running, until: Until, sample: Sample
):
    refused = sample(service, "rejected_total", reason="rate")
    async with running(service, camera, client=rated("short", 2, 3600)):
        for sequence in range(4):
            camera.shoot(sequence)
            await until(lambda sequence=sequence: len(camera.answers) == sequence + 1)
    assert [kind for kind, _, _ in camera.told] == ["answered", "answered", "rate", "rate"]
    assert sample(service, "rejected_total", reason="rate") == refused + 2


async def test_every_frame_waits_for_the_rate(service: Service, camera: Camera, running: Running, until: Until):
    async with running(service, camera, Every(8), client=rated("waits", 2, 1)):
        camera.shoot(1, 2, 3)
        await until(lambda: len(camera.answers) == 3)
    assert camera.told == [("answered", number, number) for number in (1, 2, 3)]


async def test_a_rate_that_comes_after_the_deadline_fails_the_frame(
    service: Service, camera: Camera, running: Running, until: Until
):
    async with running(service, camera, Every(8), client=rated("never", 1, 3600)):
        camera.shoot(1, 2, 3)
        await until(lambda: len(camera.answers) == 3)
    assert [kind for kind, _, _ in camera.told] == ["answered", "RateLimited", "RateLimited"]


async def test_every_frame_outlasts_an_engine_that_is_away(
    make_service: MakeService, engine_with_switch: Any, camera: Camera, running: Running, until: Until
):
    service = await make_service(engine_with_switch, known_image_interval_s=3600)
    engine_with_switch.error = EngineDown("away")
    begun = engine_with_switch.batches
    async with running(service, camera, Every(4)):
        camera.shoot(*range(6))
        await until(lambda: engine_with_switch.batches > begun + 4)
        assert not camera.answers
        engine_with_switch.error = None
        await until(lambda: len(camera.answers) == 6)
    assert [kind for kind, _, _ in camera.told] == ["answered"] * 6


async def test_the_newest_frame_does_not_outlast_it(
    make_service: MakeService, engine_with_switch: Any, camera: Camera, running: Running, until: Until
):
    service = await make_service(engine_with_switch, known_image_interval_s=3600)
    engine_with_switch.error = EngineDown("away")
    async with running(service, camera, Latest(60.0)):
        camera.shoot(1)
        await until(lambda: len(camera.answers) == 1)
    assert camera.told == [("EngineDown", 1, 1)]


async def test_where_no_place_is_left_every_waits_and_latest_does_not(
    make_service: MakeService, make_camera: Callable[[], Camera], running: Running, until: Until
):
    service = await make_service(max_in_flight=1)
    patient, hasty = make_camera(), make_camera()
    async with running(service, patient, Every(4)), running(service, hasty):
        with service.detector.place(float("inf")):
            hasty.shoot(1)
            await until(lambda: bool(hasty.answers))
            patient.shoot(1)
            await until(lambda: service.metrics.rejected.labels("places")._value.get() >= 3)
        await until(lambda: bool(patient.answers))
    assert (hasty.told, patient.told) == ([("overloaded", 1, 1)], [("answered", 1, 1)])


@pytest.fixture
def renamed(tmp_path: Path, write_blocks: Callable[..., ModelSpec]) -> Path:
    """A repository with blocks 1, which is current, and blocks 2, whose classes are called otherwise."""
    spec = write_blocks(tmp_path, version="2")
    other = replace(spec, class_names=("rot", "green", "blue"))
    (tmp_path / "blocks" / "2" / "spec.json").write_text(other.to_json())
    write_blocks(tmp_path)
    assert json.loads((tmp_path / "blocks" / "spec.json").read_text())["version"] == "1"
    return tmp_path


async def test_a_promotion_takes_effect_from_frame_to_frame(
    make_service: MakeService, renamed: Path, make_camera: Callable[[], Camera], running: Running, until: Until
):
    service = await make_service(model_repository=renamed)
    plain, choosy = make_camera(), make_camera()
    async with running(service, plain), running(service, choosy, classes=("red",)):
        for version in ("1", "2"):
            await service.models.promote("blocks", version)
            for camera in (plain, choosy):
                camera.shoot(int(version))
            await until(lambda version=version: len(plain.answers) == len(choosy.answers) == int(version))
    assert [answer.served.model.version for answer in plain.answers] == ["1", "2"]
    assert choosy.told == [("answered", 1, 1), ("InvalidOption", 2, 2)]
    assert choosy.answers[0].detected.detections.class_ids.tolist() == [0]
