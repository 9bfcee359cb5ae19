"""Places with the clock moved by hand."""

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from service.detector.places import ARRIVING_S, SLOW_S, Places
from service.errors import Overloaded
from service.metrics import Metrics


@pytest.fixture
def make() -> Callable[[int], Places]:
    return lambda capacity: Places(capacity, Metrics(CollectorRegistry()))


def test_places_run_out_and_come_back(make: Callable[[int], Places]):
    places = make(2)
    first, _ = places.take(0.0), places.take(0.0)
    with pytest.raises(Overloaded, match="2 requests"):
        places.take(0.0)
    places.leave(first)
    places.take(0.0)


def test_slow_senders_keep_nobody_out_until_there_are_as_many_again(make: Callable[[int], Places]):
    places = make(2)
    for moment in (0.0, 0.0, SLOW_S, SLOW_S):
        places.take(moment)
    with pytest.raises(Overloaded, match="4 requests"):
        places.take(2 * SLOW_S)


def test_one_whose_picture_is_complete_is_no_slow_sender(make: Callable[[int], Places]):
    places = make(1)
    places.received(places.take(0.0))
    with pytest.raises(Overloaded):
        places.take(2 * SLOW_S)


def test_only_what_came_of_late_is_work_that_is_ahead(make: Callable[[int], Places]):
    places = make(4)
    places.take(0.0)
    places.received(places.take(1.0))
    arriving = places.take(1.0)
    assert places.arriving(1.0 + ARRIVING_S / 2) == 1
    assert places.arriving(1.0 + 2 * ARRIVING_S) == 0
    places.leave(arriving)
    assert places.arriving(1.0) == 0
