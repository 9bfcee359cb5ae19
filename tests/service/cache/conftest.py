"""Entries, clocks moved by hand, and tiers on a real Redis."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.cache import CachedImage, CandidateCache, MemoryTier, RedisTier, connect
from service.metrics import Metrics
from service.vision.detections import Candidates


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def counted(metrics: Metrics) -> Callable[[str], float]:
    """How many look-ups or writes ended with this result."""
    return lambda result: metrics.registry.get_sample_value("yolov7_cache_total", {"result": result}) or 0.0


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., CachedImage]:
    def make(rows: int = 10, seed: int = 0) -> CachedImage:
        random = np.random.default_rng(seed)
        candidates = Candidates(
            random.random((rows, 4), np.float32) * 640,
            random.random(rows, np.float32),
            random.integers(0, 80, rows, np.int32),
            random.integers(0, 25_200, rows, np.int32),
        )
        return CachedImage.of(candidates, image_hw=(1080, 1920), shape_hw=(384, 640))

    return make


@pytest.fixture(scope="session")
def same() -> Callable[[CachedImage | None, CachedImage], bool]:
    """Whether two entries say the same, to the last bit."""

    def same(first: CachedImage | None, second: CachedImage) -> bool:
        if first is None or (first.image_hw, first.shape_hw) != (second.image_hw, second.shape_hw):
            return False
        names = ("boxes", "scores", "classes", "predictions")
        pairs = [(getattr(first.candidates, name), getattr(second.candidates, name)) for name in names]
        return all((a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes()) for a, b in pairs)

    return same


@pytest.fixture
async def make_tier(metrics: Metrics, clock: Clock) -> AsyncIterator[Callable[..., RedisTier]]:
    """A tier on the Redis at a URL. Its breaker goes by the test's clock; its budget is long, for a busy machine."""
    async with AsyncExitStack() as opened:

        def make(url: str, *, budget_s: float = 2.0, ttl_s: float = 60.0) -> RedisTier:
            client = connect(url)
            opened.push_async_callback(client.aclose)
            tier = RedisTier(client, ttl_s=ttl_s, metrics=metrics, budget_s=budget_s, clock=clock)
            opened.push_async_callback(tier.aclose)
            return tier

        yield make


@pytest.fixture
def make_cache(make_tier: Callable[..., RedisTier], metrics: Metrics, clock: Clock) -> Callable[..., CandidateCache]:
    """Both tiers, on the Redis at a URL."""

    def make(url: str) -> CandidateCache:
        memory = MemoryTier(1_000_000, ttl_s=60, metrics=metrics, clock=clock)
        return CandidateCache(memory, make_tier(url), metrics=metrics)

    return make
