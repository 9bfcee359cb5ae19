"""Versions come and go on a real tritonserver, and nobody notices."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.protocol import ModelVersion, Target
from service.engine.repository import StoredModel, open_model
from service.engine.triton import TritonEngine
from service.errors import EngineFailed, RepositoryError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

FIRST, SECOND = ModelVersion("plain", "1"), ModelVersion("plain", "2")
SHAPE = (64, 128)
IMAGE = np.zeros((*SHAPE, 3), np.uint8)


@pytest.fixture(scope="module")
def stored(triton_root: Path) -> tuple[StoredModel, StoredModel]:
    return open_model(triton_root, "plain", "1"), open_model(triton_root, "plain", "2")


@pytest.fixture
async def engine(make_engine: Callable[..., Any], server: Any) -> TritonEngine:
    """With nothing loaded."""
    engine = await make_engine(server.url)
    for model in await engine.loaded():
        await engine.unload(model)
    return engine


async def infer(engine: TritonEngine, model: ModelVersion) -> None:
    await engine.infer(Target(model, SHAPE), [IMAGE], deadline=time.monotonic() + 10)


@asynccontextmanager
async def under_load(engine: TritonEngine, model: ModelVersion) -> AsyncIterator[None]:
    """Three callers, one request after the other; the first that fails fails the test."""
    ended = asyncio.Event()
    answered = 0

    async def call() -> None:
        nonlocal answered
        while not ended.is_set():
            await infer(engine, model)
            answered += 1

    async with asyncio.TaskGroup() as callers:
        for _ in range(3):
            callers.create_task(call())
        yield
        for _ in range(2):
            await infer(engine, model)
        ended.set()
    assert answered >= 3


async def test_a_version_comes_and_another_goes_under_load(
    engine: TritonEngine, stored: tuple[StoredModel, StoredModel]
):
    await engine.load(stored[0])
    async with under_load(engine, FIRST):
        await engine.load(stored[1])
        assert set(await engine.loaded()) == {FIRST, SECOND}
        await infer(engine, SECOND)
    async with under_load(engine, SECOND):
        await engine.unload(FIRST)
        assert set(await engine.loaded()) == {SECOND}
    with pytest.raises(EngineFailed, match="not ready"):
        await infer(engine, FIRST)


async def test_an_old_version_is_loaded_alone(engine: TritonEngine, stored: tuple[StoredModel, StoredModel]):
    """By itself Triton would load the latest one."""
    await engine.load(stored[0])
    assert set(await engine.loaded()) == {FIRST}


async def test_loading_and_unloading_twice_is_harmless(
    engine: TritonEngine, server: Any, stored: tuple[StoredModel, StoredModel]
):
    passport = await engine.load(stored[0])
    stubs = server.stubs()
    assert await engine.load(stored[0]) == passport
    assert server.stubs() == stubs
    for _ in range(2):
        await engine.unload(FIRST)
    assert await engine.loaded() == {}


async def test_gateways_that_start_together_load_once(
    make_engine: Callable[..., Any], engine: TritonEngine, server: Any, stored: tuple[StoredModel, StoredModel]
):
    holders: list[int] = []

    def lease_of(number: int) -> Callable[[str, float], Awaitable[bool]]:
        async def lease(name: str, seconds: float) -> bool:
            holders.append(number)
            return number == holders[0]

        return lease

    engines = [await make_engine(server.url, lease=lease_of(number)) for number in range(3)]
    before = server.log.read_text().count("loading: plain:1")
    passports = await asyncio.gather(*(engine.load(stored[0]) for engine in engines))
    assert passports[1:] == passports[:-1]
    assert server.log.read_text().count("loading: plain:1") == before + 1


async def test_a_broken_version_harms_no_other(
    make_engine: Callable[..., Any], triton_repository: Callable[[], Path], triton_server: Callable[..., Any]
):
    root = triton_repository()
    first, second = open_model(root, "plain", "1"), open_model(root, "plain", "2")
    second.onnx.with_name("model.py").write_text("raise RuntimeError")
    engine = await make_engine(triton_server(root).url)
    await engine.load(first)
    async with under_load(engine, FIRST):
        with pytest.raises(EngineFailed, match="its log says why"):
            await engine.load(second)
    assert set(await engine.loaded()) == {FIRST}


async def test_other_tensors_than_the_specs_are_refused(engine: TritonEngine, stored: tuple[StoredModel, StoredModel]):
    spec = replace(stored[0].spec, output_names=("boxes", "logits", "classes", "predictions"))
    with pytest.raises(RepositoryError, match="other tensors"):
        await engine.load(StoredModel(spec, stored[0].onnx))


async def test_what_another_gateway_unloaded_is_not_brought_back(
    make_engine: Callable[..., Any], engine: TritonEngine, server: Any, stored: tuple[StoredModel, StoredModel]
):
    other = await make_engine(server.url)
    await engine.load(stored[0])
    assert set(await other.loaded()) == {FIRST}
    await infer(other, FIRST)
    await engine.unload(FIRST)
    with pytest.raises(EngineFailed):
        await infer(other, FIRST)
    assert await other.loaded() == {}
