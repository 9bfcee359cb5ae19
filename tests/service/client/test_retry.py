import pytest

from service.client.errors import ConnectionFailed, Problem, RequestRefused, ServiceFailed, ServiceUnavailable, TimedOut
from service.client.retry import LONGEST_S, Retries


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def retries(clock: Clock, draw: float = 1.0, count: int = 3) -> Retries:
    return Retries(count, first_pause_s=0.5, longest_pause_s=3.0, clock=clock, draw=lambda: draw)


def test_pauses_double_up_to_the_longest(clock: Clock):
    attempts = retries(clock, count=5).within(100)
    assert [attempts.pause_s(ConnectionFailed("")) for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_service_that_is_away_for_weeks_overflows_nothing(clock: Clock):
    attempts = retries(clock, count=5000).within(float("inf"))
    assert [attempts.pause_s(ConnectionFailed("")) for _ in range(5000)][-1] == 3.0


def test_no_deadline_is_one_that_threads_and_sockets_can_hold(clock: Clock):
    assert retries(clock).within(float("inf")).left_s() == LONGEST_S


def test_a_connection_that_failed_beyond_the_deadline_is_time_that_is_up(clock: Clock):
    attempts = retries(clock).within(5)
    clock.now += 5
    with pytest.raises(TimedOut, match="refused"):
        attempts.pause_s(ConnectionFailed("refused"))


@pytest.mark.parametrize("draw", [0.0, 0.25])
def test_the_whole_pause_is_drawn(clock: Clock, draw: float):
    assert retries(clock, draw).within(100).pause_s(ConnectionFailed("")) == 0.5 * draw


def test_what_the_service_says_is_waited_at_least(clock: Clock):
    attempts = retries(clock).within(100)
    assert attempts.pause_s(ServiceUnavailable("", retry_after_s=7)) == 7.5
    assert attempts.pause_s(ServiceUnavailable("")) == 1.0


def test_after_the_last_try_the_error_is_told(clock: Clock):
    attempts = retries(clock, count=1).within(100)
    attempts.pause_s(ConnectionFailed("first"))
    with pytest.raises(ConnectionFailed, match="second"):
        attempts.pause_s(ConnectionFailed("second"))


def test_a_pause_beyond_the_deadline_is_not_begun(clock: Clock):
    attempts = retries(clock).within(5)
    clock.now += 2
    with pytest.raises(ServiceUnavailable):
        attempts.pause_s(ServiceUnavailable("", retry_after_s=2.5))


def test_what_is_left_becomes_less_until_the_time_is_up(clock: Clock):
    attempts = retries(clock).within(5)
    clock.now += 2
    assert attempts.left_s() == 3
    clock.now += 3
    with pytest.raises(TimedOut):
        attempts.left_s()


@pytest.mark.parametrize(
    "error", [RequestRefused(Problem(404, "unknown-model", "", "")), ServiceFailed(""), TimedOut("")]
)
def test_what_would_fail_again_is_not_tried_again(clock: Clock, error: Exception):
    with pytest.raises(type(error)):
        retries(clock).within(100).pause_s(error)
