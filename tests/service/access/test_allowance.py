"""What is told of a rate is true: both storages say it alike, and who comes back when told is let in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits.aio.storage import RedisStorage

from service.access import Allowance, Rate
from service.access.allowance import take
from service.access.windows import BoundedWindows
from service.errors import RateLimited

pytestmark = pytest.mark.anyio

HOURLY = Rate(3, 3600)


async def test_what_is_left_is_told(clock):
    windows = BoundedWindows(10, clock=clock)
    left = [await take(windows, HOURLY, "a") for _ in range(3)]
    assert left == [Allowance(3, remaining, 3600, 3600) for remaining in (2, 1, 0)]


async def test_over_the_rate_says_when_to_come_back(clock):
    windows = BoundedWindows(10, clock=clock)
    for _ in range(3):
        await take(windows, HOURLY, "a")
    clock.now += 3558.0
    with pytest.raises(RateLimited, match=r"^over the rate of 3 per 3600 seconds; try again in 42 s$") as refusal:
        await take(windows, HOURLY, "a")
    assert (refusal.value.limit, refusal.value.window_s, refusal.value.retry_after_s) == (3, 3600, 42)


async def test_redis_says_the_same(clock, redis_process):
    redis = RedisStorage(f"async+{redis_process.url}", implementation="redispy")
    windows = BoundedWindows(10, clock=clock)
    for remaining in (2, 1, 0):
        for storage in (redis, windows):
            allowance = await take(storage, HOURLY, "the same")
            assert (allowance.limit, allowance.remaining, allowance.window_s) == (3, remaining, 3600)
            assert 3000 < allowance.reset_s <= 3600
    for storage in (redis, windows):
        with pytest.raises(RateLimited) as refusal:
            await take(storage, HOURLY, "the same")
        assert 3000 < refusal.value.retry_after_s <= 3600
    await redis.bridge.storage.aclose()


@settings(max_examples=50)
@given(steps=st.lists(st.floats(0, 40), max_size=60), limit=st.integers(1, 6))
async def test_who_comes_back_when_told_is_let_in(steps, limit):
    now = 0.0
    windows = BoundedWindows(10, clock=lambda: now)
    for step in steps:
        now += step
        try:
            await take(windows, Rate(limit, 60), "a")
        except RateLimited as refusal:
            now += refusal.retry_after_s + 0.001
            assert await take(windows, Rate(limit, 60), "a")


@settings(max_examples=50)
@given(steps=st.lists(st.floats(0, 40), max_size=60), limit=st.integers(1, 6))
async def test_as_many_as_remain_are_let_in_at_once(steps, limit):
    now = 0.0
    windows, rate = BoundedWindows(10, clock=lambda: now), Rate(limit, 60)
    for step in steps:
        now += step
        try:
            allowance = await take(windows, rate, "a")
        except RateLimited:
            continue
        for remaining in reversed(range(allowance.remaining)):
            assert (await take(windows, rate, "a")).remaining == remaining
        with pytest.raises(RateLimited):
            await take(windows, rate, "a")
