"""Delivery `every`: credits, order, and trying again what passes."""

import pytest

from service.errors import EngineDown, EngineFailed, ModelNotReady, Overloaded, RateLimited, ServiceError
from service.live import Failed, Frame
from service.live.backlog import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backlog
from service.live.order import Order, Slot


class Waits:
    """A backlog of frames 1, 2, 3 with 3 credits and 60 s for each, and the pauses that it asked for."""

    def __init__(self) -> None:
        self.order = Order()
        self.pauses: list[float] = []
        self.backlog = Backlog(self.order, 3, 60.0, pause=self.pauses.append)
        for sequence in (1, 2, 3):
            self.backlog.put(Frame(sequence, b"", received_at=0.0))

    def take(self, now: float) -> Slot:
        slot = self.backlog.take(now)
        assert slot is not None
        return slot


@pytest.fixture
def waits() -> Waits:
    return Waits()


def rate_limited(seconds: int) -> RateLimited:
    return RateLimited("slower", limit=1, window_s=seconds, retry_after_s=seconds)


def test_credits_are_free_again_once_an_answer_was_sent(waits: Waits):
    assert waits.backlog.full
    waits.backlog.refuse(waits.take(0.0), EngineFailed("ill"), 1.0)
    outcome = waits.order.pop()
    assert outcome is not None
    assert waits.backlog.full
    waits.order.sent(outcome)
    assert not waits.backlog.full


def test_the_oldest_is_first_and_what_is_tried_again_before_all(waits: Waits):
    first, second = waits.take(0.0), waits.take(0.0)
    waits.backlog.refuse(second, Overloaded("full"), 1.0)
    waits.backlog.refuse(first, Overloaded("full"), 1.0)
    assert not waits.backlog.wants
    waits.backlog.resume()
    assert [waits.take(2.0).frame.sequence for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("error", [Overloaded("full"), EngineDown("away"), ModelNotReady("ill")])
def test_pauses_grow_until_something_is_answered(waits: Waits, error: ServiceError):
    now = 0.0
    for _ in range(7):
        waits.backlog.refuse(waits.take(now), error, now)
        waits.backlog.resume()
        now += 2.0
    assert waits.pauses[0] == FIRST_PAUSE_S
    assert waits.pauses[1] == 2 * FIRST_PAUSE_S
    assert waits.pauses[-1] == LONGEST_PAUSE_S
    waits.backlog.answer(waits.take(now), None)
    waits.backlog.refuse(waits.take(now), error, now)
    assert waits.pauses[-1] == FIRST_PAUSE_S


def test_a_frame_fails_where_its_deadline_comes_before_the_next_try(waits: Waits):
    slot = waits.take(100.0)
    assert slot.deadline == 160.0
    waits.backlog.refuse(slot, Overloaded("full"), 159.99)
    outcome = waits.order.pop()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Overloaded)
    assert (waits.pauses, waits.backlog.wants) == ([], True)


def test_a_frame_that_was_refused_fails_with_that_at_its_deadline(waits: Waits):
    waits.backlog.refuse(waits.take(0.0), EngineDown("away"), 1.0)
    waits.backlog.resume()
    assert waits.backlog.take(60.0) is None
    outcome = waits.order.pop()
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, EngineDown)
    assert waits.take(60.0).deadline == 120.0


def test_a_rate_is_waited_for_as_long_as_the_deadline_allows(waits: Waits):
    waits.backlog.refuse(waits.take(0.0), rate_limited(59), 0.5)
    assert waits.pauses == [59]
    waits.backlog.resume()
    waits.backlog.refuse(waits.take(59.5), rate_limited(3600), 59.6)
    assert isinstance(waits.order.pop(), Failed)


def test_once_it_drains_a_frame_has_one_more_turn_and_no_pause(waits: Waits):
    waits.backlog.refuse(waits.take(0.0), rate_limited(30), 0.0)
    waits.backlog.drain()
    slot = waits.take(1.0)
    waits.backlog.refuse(slot, rate_limited(30), 1.0)
    assert isinstance(slot.outcome, Failed)
    assert waits.pauses == [30]


def test_what_is_settled_holds_no_picture(waits: Waits):
    slot = waits.order.append(Frame(9, b"picture", received_at=0.0))
    slot.settle(Failed(slot.frame.emptied(), EngineFailed("ill")))
    assert (slot.frame.sequence, slot.frame.picture) == (9, b"")
