"""The breaker, with time moved by hand."""

from hypothesis import given
from hypothesis import strategies as st

from service.cache.breaker import Breaker


def fail(breaker: Breaker, now: float) -> bool:
    attempt = breaker.attempt(now)
    assert attempt is not None
    return breaker.failed(attempt, now)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(failures=3, shortest_s=0.5, longest_s=5.0)
    assert [fail(breaker, at) for _ in range(3)] == [False, False, True]
    return breaker


def test_it_opens_after_failures_in_a_row_only():
    breaker = Breaker(failures=2)
    for _ in range(5):
        assert not fail(breaker, 0.0)
        breaker.succeeded(breaker.attempt(0.0))
    assert not breaker.is_open
    assert not fail(breaker, 0.0)
    assert fail(breaker, 0.0)


def test_while_open_nothing_is_tried_and_then_one_thing_at_a_time():
    breaker = opened(at=10.0)
    assert breaker.attempt(10.49) is None
    probe = breaker.attempt(10.5)
    assert probe is not None
    assert breaker.attempt(11.0) is None
    assert breaker.succeeded(probe)
    assert not breaker.is_open
    assert breaker.attempt(11.0) is not None


def test_each_probe_that_fails_makes_the_wait_twice_as_long_up_to_the_longest():
    breaker, now = opened(), 0.0
    for wait_s in (0.5, 1.0, 2.0, 4.0, 5.0, 5.0):
        assert breaker.attempt(now + wait_s - 0.01) is None
        now += wait_s
        assert not fail(breaker, now)
    breaker.succeeded(breaker.attempt(now + 5.0))
    assert [fail(breaker, now) for _ in range(3)][-1]
    assert breaker.attempt(now + 0.5) is not None


def test_what_was_tried_before_it_opened_says_nothing_any_more():
    breaker = Breaker(failures=1)
    early, late, latest = (breaker.attempt(0.0) for _ in range(3))
    assert breaker.failed(early, 0.0)
    assert not breaker.succeeded(late)
    assert breaker.is_open
    assert not breaker.failed(latest, 0.4)
    assert breaker.attempt(0.5) is not None


def test_what_fails_together_fails_once():
    breaker = Breaker(failures=2)
    together = [breaker.attempt(0.0) for _ in range(10)]
    assert not any(breaker.failed(attempt, 0.0) for attempt in together)
    assert fail(breaker, 0.1)


def test_an_attempt_is_judged_once():
    breaker = Breaker(failures=2)
    attempt = breaker.attempt(0.0)
    breaker.failed(attempt, 0.0)
    assert not breaker.failed(attempt, 0.1)
    assert not breaker.succeeded(attempt)
    assert fail(breaker, 0.2)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 6)), max_size=50))
def test_a_server_that_is_back_is_found_within_the_longest_wait(history):
    breaker, now = Breaker(), 0.0
    for succeeds, waited_s in history:
        now += waited_s
        if (attempt := breaker.attempt(now)) is not None:
            breaker.succeeded(attempt) if succeeds else breaker.failed(attempt, now)
    attempt = breaker.attempt(now + 5.0)
    assert attempt is not None
    breaker.succeeded(attempt)
    assert not breaker.is_open
