"""Versions are loaded, promoted and unloaded while requests run, here and by others on the same models."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service.app import Service
from service.engine.protocol import ModelVersion
from service.errors import (
    EngineFailed,
    ModelConflict,
    UnknownModel,
)
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

MakeService = Callable[..., Awaitable[Service]]
Until = Callable[..., Awaitable[None]]
Write = Callable[..., ModelSpec]

# Often enough for a test to see what the timer does.
OFTEN = {"known_image_interval_s": 0.05}


async def test_a_version_is_loaded_beside_the_current_one_while_requests_run(
    make_service: MakeService, two_versions: Path, asked
):
    service = await make_service(model_repository=two_versions)
    assert service.models.available("blocks") == ("1", "2")
    async with asked(service) as answers:
        model = await service.models.load("blocks", "2")
        await asyncio.sleep(0.05)
    assert (model.ready, service.models.is_current(model.key)) == (True, False)
    assert answers == {("1", 1.0)}
    assert [str(model.key) for model in service.models] == ["blocks/1", "blocks/2"]
    assert service.models.resolve("blocks", "2").spec.version == "2"


async def test_promoting_and_unloading_drop_no_request_and_mix_no_answers_up(
    make_service: MakeService, two_versions: Path, asked, until: Until
):
    service = await make_service(model_repository=two_versions)
    async with asked(service) as answers:
        for old, new in (("1", "2"), ("2", "1"), ("1", "2")):
            await service.models.promote("blocks", new)
            await service.models.unload("blocks", old)
            answers.clear()
            await until(lambda new=new: any(version == new for version, _ in answers))
    assert answers == {("2", 0.5)}
    with pytest.raises(UnknownModel, match="no version '1' loaded; there is 2"):
        service.models.resolve("blocks", "1")
    assert await service.engine.loaded() == {ModelVersion("blocks", "2"): service.models.resolve().passport}


async def test_each_answer_is_that_of_the_version_that_was_asked_for(
    make_service: MakeService, two_versions: Path, asked, until: Until
):
    service = await make_service(model_repository=two_versions)
    async with asked(service) as answers:
        await until(lambda: ("1", 1.0) in answers)
        await service.models.promote("blocks", "2")
        await until(lambda: ("2", 0.5) in answers)
    assert answers == {("1", 1.0), ("2", 0.5)}


async def test_the_current_version_is_not_unloaded(make_service: MakeService, two_versions: Path):
    service = await make_service(model_repository=two_versions)
    for _ in range(2):
        with pytest.raises(ModelConflict, match="blocks/1 is the current version; promote another one first"):
            await service.models.unload("blocks", "1")
        await service.models.load("blocks", "2")
    with pytest.raises(UnknownModel):
        await service.models.unload("blocks", "3")
    await service.models.unload("blocks", "2")
    assert service.models.resolve().spec.version == "1"


async def test_the_last_version_of_another_model_may_go(
    make_service: MakeService, tmp_path: Path, write_blocks: Write, sample
):
    write_blocks(tmp_path)
    write_blocks(tmp_path, "second")
    service = await make_service(model_repository=tmp_path)
    await service.models.unload("second", "1")
    with pytest.raises(UnknownModel, match="no model 'second'; there is blocks"):
        service.models.resolve("second")
    assert sample(service, "model_ready", model="second", version="1") == 0
    await service.models.load("second", "1")
    assert service.models.resolve("second").spec.version == "1"


async def test_an_unload_waits_for_those_who_use_the_version(
    make_service: MakeService, engine_with_switch, two_versions: Path, detect, png: bytes, until: Until
):
    service = await make_service(engine_with_switch, model_repository=two_versions)
    served = (await service.models.load("blocks", "2")).served
    engine_with_switch.gate.clear()
    before = engine_with_switch.batches
    using = asyncio.ensure_future(detect(service, png, served=served))
    await until(lambda: engine_with_switch.batches > before)
    unloading = asyncio.ensure_future(service.models.unload("blocks", "2"))
    await asyncio.sleep(0.02)
    assert not unloading.done()
    assert served.model in await service.engine.loaded()
    engine_with_switch.gate.set()
    assert float((await using).detections.scores[0]) == 0.5
    await unloading
    assert served.model not in await service.engine.loaded()


async def test_a_promotion_is_written_down_and_outlives_a_restart(make_service: MakeService, two_versions: Path):
    service = await make_service(model_repository=two_versions)
    await service.models.promote("blocks", "2")
    assert ModelSpec.from_json((two_versions / "blocks/spec.json").read_text()).version == "2"
    assert sorted(path.name for path in (two_versions / "blocks").iterdir()) == ["1", "2", "spec.json"]
    again = await make_service(model_repository=two_versions)
    assert again.models.resolve().spec.version == "2"


async def test_others_on_the_same_folder_follow_a_promotion(
    make_service: MakeService, two_versions: Path, asked, until: Until
):
    one, other = [await make_service(model_repository=two_versions, **OFTEN) for _ in range(2)]
    for service in (one, other):
        await service.models.load("blocks", "2")
    async with asked(other) as answers:
        await one.models.promote("blocks", "2")
        await until(lambda: other.models.resolve().spec.version == "2")
        await one.models.promote("blocks", "1")
        await until(lambda: other.models.resolve().spec.version == "1")
    assert answers <= {("1", 1.0), ("2", 0.5)}


async def test_a_promotion_is_followed_only_once_the_version_is_ready_here(
    make_service: MakeService, engine_with_switch, two_versions: Path, until: Until
):
    one = await make_service(model_repository=two_versions)
    other = await make_service(engine_with_switch, model_repository=two_versions, **OFTEN)
    await other.models.load("blocks", "2")
    engine_with_switch.error = EngineFailed("down")
    await until(lambda: not any(model.ready for model in other.models))
    await one.models.promote("blocks", "2")
    await asyncio.sleep(0.2)
    assert other.models.is_current(ModelVersion("blocks", "1"))
    engine_with_switch.error = None
    await until(lambda: other.models.is_current(ModelVersion("blocks", "2")))


async def test_an_export_alone_does_not_go_live(make_service: MakeService, tmp_path: Path, write_blocks: Write,
                                                write_dimmed: Write, asked):  # fmt: skip
    write_blocks(tmp_path)
    service = await make_service(model_repository=tmp_path, **OFTEN)
    async with asked(service) as answers:
        write_dimmed(tmp_path)
        await asyncio.sleep(0.3)
        await service.models.load("blocks", "2")
        await asyncio.sleep(0.3)
    assert answers == {("1", 1.0)}
    await service.models.promote("blocks", "2")
    assert service.models.resolve().spec.version == "2"


async def test_what_others_load_and_unload_in_a_shared_engine_is_taken_over(
    make_service: MakeService, engine_with_switch, two_versions: Path, until: Until, sample
):
    one, other = [await make_service(engine_with_switch, model_repository=two_versions, **OFTEN) for _ in range(2)]
    await one.models.load("blocks", "2")
    await until(lambda: [model.key.version for model in other.models if model.ready] == ["1", "2"])
    assert other.models.resolve("blocks", "2").passport.max_batch_size == 1
    await one.models.promote("blocks", "2")
    await until(lambda: other.models.resolve().spec.version == "2")
    await one.models.unload("blocks", "1")
    await until(lambda: [model.key.version for model in other.models] == ["2"])
    assert sample(other, "model_ready", model="blocks", version="1") == 0
    assert sample(other, "model_ready", model="blocks", version="2") == 1


async def test_a_model_that_others_load_begins_with_the_version_that_is_current(
    make_service: MakeService,
    engine_with_switch,
    tmp_path: Path,
    write_blocks: Write,
    write_dimmed: Write,
    until: Until,
):
    write_blocks(tmp_path)
    service = await make_service(engine_with_switch, model_repository=tmp_path, **OFTEN)
    for version in ("1", "2", "3", "5", "4"):
        write_blocks(tmp_path, "second", version)
    other = await make_service(engine_with_switch, model_repository=tmp_path)
    for version in ("1", "2", "3", "5"):
        await other.models.load("second", version)
    await until(lambda: len(list(service.models)) == 6)
    await until(lambda: service.models.find("second").key.version == "4")


async def test_what_others_load_that_is_not_in_this_repository_is_left_alone(
    make_service: MakeService, engine_with_switch, tmp_path: Path, write_blocks: Write
):
    for folder in ("mine", "theirs"):
        write_blocks(tmp_path / folder)
    write_blocks(tmp_path / "theirs", "second")
    service = await make_service(engine_with_switch, model_repository=tmp_path / "mine", **OFTEN)
    other = await make_service(engine_with_switch, model_repository=tmp_path / "theirs")
    await other.models.load("second", None)
    await asyncio.sleep(0.2)
    assert [str(model.key) for model in service.models] == ["blocks/1"]
    assert service.reasons() == {}


async def test_a_repository_that_cannot_be_written_keeps_its_current_version(
    make_service: MakeService, two_versions: Path
):
    service = await make_service(model_repository=two_versions)
    # In the way of the file that would be renamed: a read-only folder would not stop root.
    (two_versions / f"blocks/.spec.json.{os.getpid()}").mkdir()
    with pytest.raises(ModelConflict, match=r"spec\.json cannot be written"):
        await service.models.promote("blocks", "2")
    assert service.models.resolve().spec.version == "1"
    assert service.models.resolve("blocks", "2").spec.version == "2"


async def test_a_blind_version_is_not_promoted(
    make_service: MakeService, two_versions: Path, blind: Callable[..., None]
):
    blind(two_versions, "blocks", "2")
    (two_versions / "blocks/spec.json").write_text((two_versions / "blocks/1/spec.json").read_text())
    service = await make_service(model_repository=two_versions)
    with pytest.raises(ModelConflict, match="blocks/2 is not ready and was not promoted: known image"):
        await service.models.promote("blocks", "2")
    assert service.models.resolve().spec.version == "1"
    assert service.reasons() == {}


@pytest.mark.parametrize("ask", ["load", "promote"])
async def test_what_is_not_in_the_repository_cannot_be_loaded(service: Service, ask: str):
    with pytest.raises(UnknownModel, match="no model 'cars' in the repository; there is blocks"):
        await getattr(service.models, ask)("cars", "1")
    for version in ("7", "../1", ""):
        with pytest.raises(UnknownModel, match="has no version"):
            await getattr(service.models, ask)("blocks", version)
