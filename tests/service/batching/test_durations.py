"""How long batches take, learnt from batches."""

import pytest

from service.batching.durations import STALE_S, Durations


def learnt(*batches: tuple[int, float], load: int = 1) -> Durations[str]:
    durations: Durations[str] = Durations()
    for n, seconds in batches:
        durations.observe("g", n, load=load, seconds=seconds, now=0.0)
    return durations


def test_a_line_is_found_again():
    durations = learnt(*((n, 0.003 + 0.002 * n) for n in (1, 4, 8, 2, 16, 3)))
    for n in (1, 5, 12):
        assert durations.expected_s("g", n, load=1, now=0.0) == pytest.approx(0.003 + 0.002 * n)


def test_what_was_never_seen_or_long_ago_is_unknown():
    durations = learnt((1, 0.5))
    assert durations.expected_s("g", 1, load=2, now=0.0) is None
    assert durations.expected_s("other", 1, load=1, now=0.0) is None
    assert durations.expected_s("g", 1, load=1, now=STALE_S + 0.1) is None


def test_one_batch_size_alone_tells_no_cost_per_image():
    assert learnt((1, 0.5), (1, 0.5)).expected_s("g", 8, load=1, now=0.0) == pytest.approx(0.5)


def test_it_forgets():
    durations = learnt(*[(1, 1.0)] * 100, *[(1, 2.0)] * 100)
    assert durations.expected_s("g", 1, load=1, now=0.0) == pytest.approx(2.0, rel=0.02)


def test_no_batch_is_expected_in_less_than_no_time():
    durations = learnt((4, 0.1), (8, 0.9))
    assert durations.expected_s("g", 1, load=1, now=0.0) > 0


def test_the_cost_of_an_image_is_shared_by_the_batches_in_flight():
    assert learnt((2, 0.4), load=2).image_s("g") == pytest.approx(0.1)
    assert learnt().image_s("g") is None
