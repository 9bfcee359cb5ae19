"""The search, against services that are curves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.benchmark.knee import PRECISION, KneeSearch, Objective


def search(capacity, *, start=10.0, steps=30):
    """Offers rates to a service that holds up to its capacity; the search, and what was offered."""
    knee, offered = KneeSearch(start, steps=steps), []
    while rate := knee.next_rate():
        offered.append(rate)
        knee.tell(held=rate <= capacity)
    return knee, offered


@given(st.floats(0.5, 20_000), st.floats(0.5, 2_000))
def test_the_knee_is_found_within_the_precision(capacity, start):
    knee, _ = search(capacity, start=start)
    assert knee.held <= capacity < knee.broken
    assert knee.broken / knee.held <= PRECISION


def test_rates_double_until_one_breaks_and_then_close_in():
    _, offered = search(65.0)
    assert offered[:4] == [10, 20, 40, 80]
    assert offered[4] == 56.6
    assert all(40 < rate < 80 for rate in offered[4:])


def test_rates_halve_until_one_holds():
    _, offered = search(3.0)
    assert offered[:3] == [10, 5, 2.5]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_there_are_no_more_steps_than_were_given(steps):
    _, offered = search(65.0, steps=steps)
    assert len(offered) == steps


def test_a_service_that_holds_nothing_is_left_in_peace():
    knee, offered = search(0.0, steps=1000)
    assert knee.held is None
    assert len(offered) < 20


def test_a_step_that_held_is_broken_by_nothing(make_figures):
    assert Objective(50).broken_by(make_figures(100, ms=50)) is None
    assert Objective(50).broken_by(make_figures(995, sent=1000, statuses={"200": 995})) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ms": 51}, "p99 51 ms is above 50 ms"),
        ({"statuses": {"200": 99, "503": 1}}, "1 of 100 requests ended in 503"),
        ({"statuses": {"200": 99, "no answer": 1}}, "1 of 100 requests ended in no answer"),
        ({"dropped": 3}, "only 97.1% of what was due was answered: 3 requests found no room"),
    ],
)
def test_it_is_said_why_a_step_did_not_hold(make_figures, changes, why):
    assert Objective(50).broken_by(make_figures(100, **changes)) == why
