"""Several gateways on one engine, and an engine that loses, changes or withholds what it had."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service.app import Service
from service.engine.protocol import ModelVersion
from service.errors import EngineFailed, ModelNotReady, UnknownModel
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

MakeGateway = Callable[..., Awaitable[Service]]
Until = Callable[..., Awaitable[None]]
Write = Callable[..., ModelSpec]

FIRST, SECOND = ModelVersion("blocks", "1"), ModelVersion("second", "1")


@pytest.fixture
def two_models(tmp_path: Path, write_blocks: Write) -> Path:
    write_blocks(tmp_path)
    write_blocks(tmp_path, "second")
    return tmp_path


async def test_a_promotion_and_an_unload_in_a_row_drop_no_request_of_another_gateway(
    make_gateway: MakeGateway, two_versions: Path, asked
):
    one, other = [await make_gateway(two_versions) for _ in range(2)]
    async with asked(other) as answers:
        for old, new in (("1", "2"), ("2", "1"), ("1", "2")):
            await one.models.promote("blocks", new)
            await one.models.unload("blocks", old)
        assert [model.key.version for model in one.models] == ["2"]
    assert answers == {("1", 1.0), ("2", 0.5)}
    assert other.models.resolve().spec.version == "2"


async def test_an_unload_on_one_gateway_knows_what_was_promoted_on_another(
    make_gateway: MakeGateway, two_versions: Path
):
    one, other = [await make_gateway(two_versions) for _ in range(2)]
    await one.models.promote("blocks", "2")
    await other.models.unload("blocks", "1")
    assert [model.key.version for model in other.models] == ["2"]


async def test_a_default_model_that_the_engine_has_lost_is_loaded_again(
    make_gateway: MakeGateway, shared_engine, two_models: Path, until: Until
):
    service = await make_gateway(two_models)
    shared_engine.loads.clear()
    await shared_engine.unload(FIRST)
    await until(lambda: service.reasons() == {"blocks": "the engine has it no longer"})
    with pytest.raises(ModelNotReady):
        service.models.resolve()
    shared_engine.loads.set()
    await until(lambda: service.reasons() == {})
    assert FIRST in await shared_engine.loaded()


async def test_another_model_that_was_unloaded_elsewhere_goes_and_can_be_loaded_again(
    make_gateway: MakeGateway, shared_engine, two_models: Path, until: Until
):
    service = await make_gateway(two_models)
    await shared_engine.unload(SECOND)
    await until(lambda: SECOND not in [model.key for model in service.models])
    with pytest.raises(UnknownModel):
        service.models.resolve("second")
    labels = {"model": "second", "version": "1"}
    assert service.metrics.registry.get_sample_value("yolov7_model_ready", labels) is None
    assert (await service.models.load("second", None)).ready
    assert service.metrics.registry.get_sample_value("yolov7_model_ready", labels) == 1


def test_with_several_processes_an_unloaded_model_is_no_alarm(tmp_path: Path, blocks_repository: Path):
    """prometheus_client cannot remove a series there, but NaN is neither 0 nor 1."""
    code = """
import sys; from pathlib import Path; from prometheus_client import CollectorRegistry
from service.engine.repository import open_model; from service.metrics import Metrics
from service.models.looks import Looks; from service.models.model import Model
metrics = Metrics(CollectorRegistry())
looks, model = Looks(None, None, least_s=1.0, metrics=metrics), Model(open_model(Path(sys.argv[1]), "blocks"))
looks.show(model); looks.forget(model)
print(metrics.exposition().decode())
"""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", code, str(blocks_repository)]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in shown.splitlines() if line.startswith("yolov7_model_ready{"))
    assert line.endswith(" NaN")


async def test_what_the_engine_brings_back_by_itself_stays_known_meanwhile(
    make_gateway: MakeGateway, shared_engine, two_versions: Path, until: Until
):
    service = await make_gateway(two_versions)
    model = await service.models.load("blocks", "2")
    shared_engine.bringing_back = {FIRST, model.key}
    for key in (FIRST, model.key):
        await shared_engine.unload(key)
    await until(lambda: not any(model.ready for model in service.models))
    with pytest.raises(ModelNotReady):
        service.models.resolve("blocks", "2")
    for version in (service.models.find("blocks"), model):
        await shared_engine.load(version.stored)
    await until(lambda: [model.key.version for model in service.models if model.ready] == ["1", "2"])


async def test_a_passport_that_changes_is_taken_over(
    make_gateway: MakeGateway, shared_engine, two_models: Path, until: Until
):
    service = await make_gateway(two_models)
    shared_engine.changed = {"precision": "bf16", "max_batch_size": 8}
    await until(lambda: service.models.resolve().passport.precision == "bf16")
    assert service.models.largest(FIRST) == 8
    shared_engine.changed["precision"] = "of another world"
    await until(lambda: "nothing is known of the precision" in service.reasons().get("blocks", ""))


@pytest.mark.parametrize("what", ["load", "infer", "unload"])
async def test_one_model_that_hangs_or_is_waited_for_delays_no_look_at_another(
    make_gateway: MakeGateway, shared_engine, two_models: Path, detect, png: bytes, until: Until, what: str
):
    service = await make_gateway(two_models, reconcile_s=0.1)
    waiting = shared_engine.hanging[SECOND] = asyncio.Event()
    if what == "infer":
        begun = [asyncio.ensure_future(service.models.check([service.models.find("second")]))]
    elif what == "unload":
        using = asyncio.ensure_future(detect(service, png, served=service.models.resolve("second")))
        begun = [using, asyncio.ensure_future(service.models.unload("second", "1"))]
    else:
        await shared_engine.unload(SECOND)
        await until(lambda: SECOND not in [model.key for model in service.models])
        shared_engine.loads.clear()
        begun = [asyncio.ensure_future(service.models.load("second", "1"))]
    shared_engine.bringing_back = {FIRST}
    stored = service.models.find("blocks").stored
    await shared_engine.unload(FIRST)
    await until(lambda: "not loaded" in service.reasons().get("blocks", ""))
    assert not begun[-1].done()
    # As the engine does by itself.
    shared_engine.loads.set()
    await shared_engine.load(stored)
    await until(lambda: service.reasons() == {})
    waiting.set()
    await asyncio.gather(*begun, return_exceptions=True)


async def test_a_load_that_the_engine_refuses_is_tried_again(
    make_gateway: MakeGateway, shared_engine, two_models: Path, until: Until
):
    shared_engine.refused = 1
    service = await make_gateway(two_models, names=("blocks",))
    assert service.reasons() == {"blocks": "the engine cannot load it"}
    await until(lambda: service.reasons() == {})
    shared_engine.refused = 1
    with pytest.raises(EngineFailed, match="second/1 cannot be loaded"):
        await service.models.load("second", None)
    assert (await service.models.load("second", None)).ready


async def test_requests_that_keep_failing_have_their_model_looked_at_no_more_often(
    make_gateway: MakeGateway, two_models: Path
):
    service = await make_gateway(two_models, reconcile_s=3600)
    model = service.models.find("blocks")
    looked = {model.looked_at}
    for _ in range(100):
        service.detector.suspects.add(FIRST)
        service.detector.suspicion.set()
        await asyncio.sleep(0.005)
        looked.add(model.looked_at)
    assert len(looked) <= 2
