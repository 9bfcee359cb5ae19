"""The windows in memory, by a clock moved by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.access.windows import BoundedWindows

pytestmark = pytest.mark.anyio


@pytest.fixture
def windows(clock):
    return BoundedWindows(3, clock=clock)


async def admitted(windows, requests, limit=20, key="a"):
    return [await windows.acquire_sliding_window_entry(key, limit, 60) for _ in range(requests)].count(True)


async def test_exactly_the_limit_is_admitted(windows):
    assert await admitted(windows, 50) == 20


async def test_several_at_once_are_all_or_nothing(windows):
    assert await windows.acquire_sliding_window_entry("a", 20, 60, amount=15)
    assert not await windows.acquire_sliding_window_entry("a", 20, 60, amount=6)
    assert await windows.acquire_sliding_window_entry("a", 20, 60, amount=5)


async def test_a_full_window_comes_back_one_by_one(windows, clock):
    await admitted(windows, 20)
    clock.now += 59.9
    assert await admitted(windows, 5) == 0
    clock.now += 30.1  # in the middle of the next window the one before weighs half
    assert await admitted(windows, 50) == 10
    clock.now += 3.0
    assert await admitted(windows, 50) == 1


async def test_two_windows_of_silence_forgive_all(windows, clock):
    await admitted(windows, 20)
    clock.now += 120.0
    assert await admitted(windows, 50) == 20


async def test_keys_are_counted_apart(windows):
    for key, limit in (("a", 3), ("b", 3), ("c", 5)):
        assert await admitted(windows, 9, limit, key) == limit


async def test_the_least_recently_seen_is_forgotten(windows):
    for key in "abcad":  # `a` is refused the second time, and stays known by that
        await admitted(windows, 1, 1, key)
    assert len(windows) == 3
    assert [await admitted(windows, 1, 1, key) for key in "acdb"] == [0, 0, 0, 1]


@settings(max_examples=50)
@given(steps=st.lists(st.floats(0, 40), min_size=1, max_size=80), limit=st.integers(1, 6))
async def test_no_stretch_as_long_as_a_window_has_more_than_twice_the_limit(steps, limit):
    now = 0.0
    windows = BoundedWindows(10, clock=lambda: now)
    times = []
    for step in steps:
        now += step
        if await windows.acquire_sliding_window_entry("a", limit, 60):
            times.append(now)
    for start in times:
        assert sum(start <= at < start + 60 for at in times) <= 2 * limit


async def test_what_was_counted_and_until_when_it_weighs(windows, clock):
    assert await windows.get_sliding_window("a", 60) == (0, 60.0, 0, 120.0)
    await admitted(windows, 3)
    clock.now += 15.0
    assert await windows.get_sliding_window("a", 60) == (0, 45.0, 3, 105.0)
    clock.now += 60.0
    assert await windows.get_sliding_window("a", 60) == (3, 45.0, 0, 105.0)
