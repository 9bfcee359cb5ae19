"""The tier in memory, against the simplest thing that does the same."""

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.cache import CachedImage, MemoryTier
from service.cache.entry import decode, encode
from service.cache.memory import PLACE_BYTES
from service.metrics import Metrics

CAPACITY_BYTES = 3_000
TTL_S = 10
STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.sampled_from([100, 700, 1_500, 4_000])),
    st.tuples(st.just("get"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 6), st.just(0)),
)


class Plain:
    """Entries in order of use, in a list, with their ages."""

    def __init__(self) -> None:
        self.kept: list[tuple[int, CachedImage, int]] = []
        self.now = 0

    def get(self, key: int) -> CachedImage | None:
        for place in [place for place in self.kept if place[0] == key]:
            self.kept.remove(place)
            if place[2] + TTL_S > self.now:
                self.kept.append(place)
                return place[1]
        return None

    def put(self, key: int, entry: CachedImage) -> None:
        self.kept = [place for place in self.kept if place[0] != key]
        if entry.held_bytes + PLACE_BYTES <= CAPACITY_BYTES:
            self.kept.append((key, entry, self.now))
        while self.held_bytes() > CAPACITY_BYTES:
            self.kept.pop(0)

    def held_bytes(self) -> int:
        return sum(entry.held_bytes + PLACE_BYTES for _, entry, _ in self.kept)


@given(st.lists(STEPS, max_size=40))
def test_it_does_what_a_plain_list_does(make_entry, steps):
    plain = Plain()
    tier = MemoryTier(CAPACITY_BYTES, ttl_s=TTL_S, metrics=Metrics(CollectorRegistry()), clock=lambda: plain.now)
    for step, number, size_bytes in steps:
        if step == "wait":
            plain.now += number
        elif step == "get":
            assert tier.get(bytes([number])) is plain.get(number)
        else:
            entry = replace(make_entry(), held_bytes=size_bytes)
            tier.put(bytes([number]), entry)
            plain.put(number, entry)
        assert (tier.held_bytes, len(tier)) == (plain.held_bytes(), len(plain.kept))
        assert tier.held_bytes <= CAPACITY_BYTES


def test_an_entry_lives_as_long_as_it_was_given_however_often_it_is_asked_for(make_entry, metrics, clock):
    tier = MemoryTier(1_000_000, ttl_s=10, metrics=metrics, clock=clock)
    entry = make_entry()
    tier.put(b"key", entry)
    for clock.now in (0, 5, 9.9):
        assert tier.get(b"key") is entry
    clock.now = 10
    assert tier.get(b"key") is None
    assert tier.held_bytes == 0


def test_the_gauge_shows_what_is_held(make_entry, metrics, clock):
    tier = MemoryTier(60_000, ttl_s=10, metrics=metrics, clock=clock)
    for key in (b"a", b"b", b"a", b"c"):
        tier.put(key, make_entry(rows=1000))
        assert metrics.registry.get_sample_value("yolov7_cache_bytes") == tier.held_bytes > 0
    assert len(tier) == 2
    assert tier.get(b"b") is None


@pytest.mark.parametrize("rows", [0, 10, 1000])
@pytest.mark.parametrize("way", [lambda entry: entry, lambda entry: decode(encode(entry))], ids=["made", "decoded"])
def test_what_is_counted_is_what_is_used(make_entry: Callable[..., CachedImage], metrics, clock, rows, way):
    tier = MemoryTier(10**9, ttl_s=10, metrics=metrics, clock=clock)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(200):
            tier.put(number.to_bytes(16, "big"), way(make_entry(rows)))
        gc.collect()
        used_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used_bytes <= tier.held_bytes * 1.02
    assert tier.held_bytes <= used_bytes * 1.02 + 200 * 600
