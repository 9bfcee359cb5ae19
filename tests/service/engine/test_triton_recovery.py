"""Servers and their processes are killed, stopped and started again under the Triton engine."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.protocol import ModelVersion, Target
from service.engine.repository import StoredModel, open_model
from service.engine.triton import TritonEngine
from service.errors import DeadlineExceeded, EngineDown, EngineFailed
from service.metrics import Metrics

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

MODEL = ModelVersion("plain", "1")
SHAPE = (64, 128)
IMAGE = np.zeros((*SHAPE, 3), np.uint8)


@pytest.fixture(scope="module")
def stored(triton_root: Path) -> StoredModel:
    return open_model(triton_root, "plain", "1")


@pytest.fixture(scope="module")
def servers(triton_server: Callable[..., Any], triton_root: Path) -> list[Any]:
    """Two, which every test leaves running."""
    return [triton_server(triton_root) for _ in range(2)]


async def infer(engine: TritonEngine, seconds: float = 10.0) -> None:
    await engine.infer(Target(MODEL, SHAPE), [IMAGE], deadline=time.monotonic() + seconds)


async def infer_again(engine: TritonEngine, within_s: float = 20.0) -> None:
    """Until it works; whatever fails meanwhile fails as a failing engine does."""
    until = time.monotonic() + within_s
    while True:
        try:
            return await infer(engine, 2.0)
        except (EngineFailed, DeadlineExceeded):
            assert time.monotonic() < until, "it does not work again"
            await asyncio.sleep(0.05)


def up(metrics: Metrics, server: Any) -> float | None:
    return metrics.registry.get_sample_value("yolov7_engine_endpoint_up", {"endpoint": server.url})


def reloads(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("yolov7_model_reloads_total", {"model": "plain"})


async def test_a_killed_server_costs_nothing_where_another_is_up(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel, metrics: Metrics, until: Any
):
    engine = await make_engine(*(server.url for server in servers))
    await engine.load(stored)
    ended = asyncio.Event()

    async def call() -> None:
        while not ended.is_set():
            await infer(engine)

    async with asyncio.TaskGroup() as callers:
        for _ in range(4):
            callers.create_task(call())
        await asyncio.sleep(0.3)
        servers[0].kill()
        await until(lambda: not up(metrics, servers[0]))
        assert up(metrics, servers[1])
        servers[0].start()
        await until(lambda: reloads(metrics))
        ended.set()


async def test_a_server_that_comes_back_has_its_model_again(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel, metrics: Metrics
):
    engine = await make_engine(servers[0].url)
    await engine.load(stored)
    servers[0].kill()
    with pytest.raises(EngineDown):
        await infer(engine)
    servers[0].start()
    await infer_again(engine)
    assert (reloads(metrics), up(metrics, servers[0])) == (1.0, 1.0)


async def test_a_reload_that_fails_is_tried_again(
    make_engine: Callable[..., Any],
    triton_server: Callable[..., Any],
    triton_repository: Callable[[], Path],
    until: Any,
    caplog: pytest.LogCaptureFixture,
):
    root = triton_repository()
    stored, server = open_model(root, "plain", "1"), triton_server(root)
    engine = await make_engine(server.url)
    await engine.load(stored)
    server.kill()
    script = stored.onnx.with_name("model.py")
    good = script.read_text()
    script.write_text("raise RuntimeError")
    server.start()
    await until(lambda: "cannot be reloaded" in caplog.text)
    script.write_text(good)
    await infer_again(engine)


async def test_a_model_whose_process_died_is_reloaded_by_the_one_with_the_lease(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel, metrics: Metrics
):
    asked: list[str] = []

    async def lease(name: str, seconds: float) -> bool:
        asked.append(name)
        return len(asked) == 1

    engines = [await make_engine(servers[1].url, lease=lease) for _ in range(2)]
    for engine in engines:
        await engine.load(stored)
    for pid in servers[1].stubs():
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*(infer_again(engine) for engine in engines))
    assert reloads(metrics) == 1.0
    assert set(asked) == {f"load {servers[1].url} plain/1"}


async def test_a_dead_model_fails_at_once_while_nobody_may_reload_it(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel
):
    async def refuse(name: str, seconds: float) -> bool:
        return False

    engine = await make_engine(servers[1].url, lease=refuse)
    await engine.load(stored)
    for pid in servers[1].stubs():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineFailed, match="process has died"):
        await infer(engine)
    with pytest.raises(EngineFailed, match="not ready"):
        await infer(engine)
    await engine.unload(MODEL)


async def test_a_hanging_server_costs_deadlines_and_is_noticed(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel, metrics: Metrics, until: Any
):
    engine = await make_engine(servers[0].url)
    await engine.load(stored)
    servers[0].send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded):
            await infer(engine, 0.2)
        await until(lambda: not up(metrics, servers[0]))
        with pytest.raises(EngineDown):
            await infer(engine)
    finally:
        servers[0].send_signal(signal.SIGCONT)
    await infer_again(engine)
    assert not reloads(metrics)


@pytest.mark.parametrize("shared_memory", ["on", "off"])
async def test_what_a_hanging_server_holds_is_called_back_long_before_its_deadline(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel, shared_memory: str, until: Any
):
    engine = await make_engine(servers[0].url, shared_memory=shared_memory)
    await engine.load(stored)
    servers[0].send_signal(signal.SIGSTOP)
    try:
        held = [asyncio.ensure_future(infer(engine, 30.0)) for _ in range(3)]
        await until(lambda: all(call.done() for call in held))
        ends = await asyncio.gather(*held, return_exceptions=True)
        assert [type(end) for end in ends] == [EngineDown] * 3
        for call in (engine.loaded, lambda: infer(engine, 30.0)):
            with pytest.raises(EngineDown):
                await call()
    finally:
        servers[0].send_signal(signal.SIGCONT)
    await infer_again(engine)


async def test_what_a_hanging_server_holds_is_answered_by_another(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel, until: Any
):
    engine = await make_engine(*(server.url for server in servers))
    await engine.load(stored)
    servers[0].send_signal(signal.SIGSTOP)
    try:
        held = [asyncio.ensure_future(infer(engine, 30.0)) for _ in range(4)]
        await until(lambda: all(call.done() for call in held))
        await asyncio.gather(*held)
        assert set(await engine.loaded()) == {MODEL}
    finally:
        servers[0].send_signal(signal.SIGCONT)


async def test_one_server_that_cannot_load_is_no_failed_load_and_follows(
    make_engine: Callable[..., Any],
    triton_server: Callable[..., Any],
    triton_repository: Callable[[], Path],
    servers: list[Any],
    metrics: Metrics,
    until: Any,
):
    root = triton_repository()
    stored, broken = open_model(root, "plain", "1"), triton_server(root)
    script = stored.onnx.with_name("model.py")
    good = script.read_text()
    script.write_text("raise RuntimeError")
    engine = await make_engine(broken.url, servers[0].url)
    await engine.load(stored)
    assert engine.wanted == {MODEL}
    await infer(engine)
    script.write_text(good)
    await until(lambda: reloads(metrics))
    assert len(broken.stubs()) == 1


async def test_a_server_that_was_away_at_the_load_loads_when_it_is_there(
    make_engine: Callable[..., Any], servers: list[Any], stored: StoredModel, metrics: Metrics, until: Any
):
    servers[0].kill()
    engine = await make_engine(*(server.url for server in servers))
    await engine.load(stored)
    servers[0].start()
    await until(lambda: reloads(metrics))
    assert len(servers[0].stubs()) == 1
