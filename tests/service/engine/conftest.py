"""A real tritonserver with the block finder, and with models that do as their image says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.engine.triton import TritonEngine, TritonOptions
from service.metrics import Metrics


@pytest.fixture(scope="session")
def triton_root(triton_repository: Callable[[], Path]) -> Path:
    return triton_repository()


@pytest.fixture(scope="session")
def server(triton_server: Callable[..., Any], triton_root: Path) -> Any:
    """Shared by the tests that leave it as it was."""
    return triton_server(triton_root)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for what another process does, which can only be asked again and again."""

    async def wait(holds: Callable[[], object], within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


async def grant(name: str, seconds: float) -> bool:
    return True


@pytest.fixture
async def make_engine(metrics: Metrics) -> AsyncIterator[Callable[..., Any]]:
    """Starts a TritonEngine for these servers' URLs; closed at the end of the test."""
    engines = []

    async def make(*urls: str, lease: Any = grant, metrics: Metrics = metrics, **options: Any) -> TritonEngine:
        chosen = {"parallelism": 4, "shared_memory": "off", "default_precision": "fp16"} | options
        engines.append(TritonEngine(TritonOptions(urls, **chosen), metrics=metrics, lease=lease))
        await engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        await engine.aclose()
