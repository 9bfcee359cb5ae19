"""A model or an engine that fails is noticed, told as not ready, and right again as soon as it is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from service.app import Service
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import ModelVersion, Passport
from service.errors import (
    EngineDown,
    EngineFailed,
    ModelNotReady,
    Overloaded,
)
from service.settings import Settings
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

MakeService = Callable[..., Awaitable[Service]]
Until = Callable[..., Awaitable[None]]
Write = Callable[..., ModelSpec]

# Often enough for a test to see what the timer does.
OFTEN = {"known_image_interval_s": 0.05}


async def test_a_model_that_went_blind_is_not_ready(
    make_service: MakeService, tmp_path: Path, write_blocks: Write, sample, blind: Callable[..., None]
):
    write_blocks(tmp_path)
    blind(tmp_path, "blocks")
    service = await make_service(model_repository=tmp_path)
    assert "known image 128x128: candidate 0" in service.reasons()["blocks"]
    with pytest.raises(ModelNotReady, match="known image"):
        service.models.resolve("blocks")
    assert sample(service, "model_ready", model="blocks", version="1") == 0


async def test_readiness_counts_the_default_model_only(
    make_service: MakeService, tmp_path: Path, write_blocks: Write, blind: Callable[..., None]
):
    write_blocks(tmp_path)
    write_blocks(tmp_path, "second")
    blind(tmp_path, "second")
    service = await make_service(model_repository=tmp_path)
    assert service.reasons() == {}
    with pytest.raises(ModelNotReady, match="model second/1 is not ready: known image"):
        service.models.resolve("second")


async def test_an_engine_that_fails_shows_and_recovers(make_service: MakeService, engine_with_switch):
    service = await make_service(engine_with_switch)
    await service.models.aclose()
    for error, ready in ((None, True), (EngineFailed("down"), False), (Overloaded("busy"), False), (None, True),
                         (Overloaded("busy"), True)):  # fmt: skip
        engine_with_switch.error = error
        await service.models.check()
        assert all(model.ready == ready for model in service.models), error


async def test_the_timer_finds_an_engine_that_fails_and_one_that_is_right_again(
    make_service: MakeService, engine_with_switch, until: Until, sample
):
    service = await make_service(engine_with_switch, **OFTEN)
    engine_with_switch.error = EngineFailed("down")
    await until(lambda: service.reasons() == {"blocks": "down"})
    assert sample(service, "model_ready", model="blocks", version="1") == 0
    engine_with_switch.error = None
    await until(lambda: service.reasons() == {})
    assert sample(service, "model_ready", model="blocks", version="1") == 1


async def test_a_request_that_fails_has_its_model_looked_at_at_once(
    make_service: MakeService, engine_with_switch, detect, png: bytes, until: Until
):
    service = await make_service(engine_with_switch, known_image_interval_s=3600)
    engine_with_switch.error = EngineFailed("down")
    with pytest.raises(EngineFailed):
        await detect(service, png)
    await until(lambda: service.reasons() == {"blocks": "down"})
    with pytest.raises(ModelNotReady, match="model blocks/1 is not ready: down"):
        await detect(service, png)
    engine_with_switch.error = None
    await until(lambda: service.reasons() == {})
    assert len((await detect(service, png)).detections) == 2


async def test_one_bad_batch_does_not_end_the_service(
    make_service: MakeService, engine_with_switch, detect, png: bytes, until: Until
):
    service = await make_service(engine_with_switch, known_image_interval_s=3600)
    engine_with_switch.error, before = EngineFailed("a hiccup"), engine_with_switch.batches
    with pytest.raises(EngineFailed):
        await detect(service, png)
    engine_with_switch.error = None
    await until(lambda: engine_with_switch.batches >= before + 3)
    assert service.reasons() == {}


class LateEngine(EmbeddedEngine):
    """The real engine, which cannot be reached until `up`."""

    up = False

    async def load(self, stored) -> Passport:
        if not self.up:
            raise EngineDown("no engine can be reached")
        return await super().load(stored)

    async def loaded(self) -> Mapping[ModelVersion, Passport]:
        if not self.up:
            raise EngineDown("no engine can be reached")
        return await super().loaded()


async def test_an_engine_that_is_away_at_the_start_is_waited_for(
    make_service: MakeService, make_settings: Callable[..., Settings], until: Until
):
    engine = LateEngine(EmbeddedOptions(precision="f32", cache_dir=make_settings().openvino_cache_dir))
    service = await make_service(engine, **OFTEN)
    assert service.reasons() == {"blocks": "no engine can be reached"}
    with pytest.raises(EngineFailed, match="blocks/1 cannot be loaded: no engine"):
        await service.models.load("blocks", "1")
    engine.up = True
    await until(lambda: service.reasons() == {})


async def test_a_timer_that_was_stopped_shows(make_service: MakeService):
    service = await make_service()
    assert service.reasons() == {}
    await service.models.aclose()
    assert service.reasons() == {"known images": "their timer has stopped"}


async def test_a_timer_that_died_of_a_bug_shows_and_says_of_which(
    make_service: MakeService, engine_with_switch, until: Until, caplog: pytest.LogCaptureFixture
):
    service = await make_service(engine_with_switch, **OFTEN)
    engine_with_switch.error = RuntimeError("a bug of ours")
    await until(lambda: "known images" in service.reasons())
    await asyncio.sleep(0)
    assert "the timer of the known images has stopped" in caplog.text
    assert "a bug of ours" in caplog.text
