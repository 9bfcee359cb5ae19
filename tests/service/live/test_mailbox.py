"""Delivery `latest`: the newest frame wins, and what it means that one cannot be answered."""

import pytest

from service.errors import DeadlineExceeded, EngineFailed, Overloaded, RateLimited, TooLate, UndecodableImage
from service.live import Dropped, Failed, Frame
from service.live.mailbox import WINDOW, Mailbox
from service.live.order import Order


def filled(*sequences: int, max_age_s: float = 1.0) -> tuple[Order, Mailbox]:
    order = Order()
    mailbox = Mailbox(order, max_age_s)
    for sequence in sequences:
        mailbox.put(Frame(sequence, b"", received_at=100.0 + sequence))
    return order, mailbox


def test_the_newest_frame_wins():
    order, mailbox = filled(1, 2, 3, 5)
    slot = mailbox.take(105.5)
    assert slot is not None
    assert (slot.frame.sequence, slot.deadline, mailbox.wants) == (5, 106.0, False)
    assert order.pop() == Dropped("replaced", 1, 3, 3)


def test_a_frame_whose_time_is_over_is_stale():
    order, mailbox = filled(1)
    assert mailbox.take(102.0) is None
    assert (order.pop(), order.begun, mailbox.wants) == (Dropped("stale", 1, 1, 1), 0, False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TooLate("in 2 s"), "stale"),
        (DeadlineExceeded("too late"), "stale"),
        (Overloaded("full"), "overloaded"),
        (RateLimited("slower", limit=1, window_s=1, retry_after_s=1), "rate"),
    ],
)
def test_what_is_in_the_way_of_a_frame_drops_it(error: Exception, reason: str):
    order, mailbox = filled(1)
    mailbox.refuse(mailbox.take(101.0), error, 101.0)
    assert order.pop() == Dropped(reason, 1, 1, 1)


@pytest.mark.parametrize("error", [EngineFailed("ill"), UndecodableImage("torn")])
def test_what_went_wrong_with_a_frame_is_said(error: Exception):
    order, mailbox = filled(1)
    mailbox.refuse(mailbox.take(101.0), error, 101.0)
    outcome = order.pop()
    assert isinstance(outcome, Failed)
    assert (outcome.frame.sequence, outcome.error) == (1, error)


def test_answers_that_nobody_takes_stop_further_ones_but_not_the_drops():
    order, mailbox = filled()
    for sequence in range(1000):
        mailbox.put(Frame(sequence, b"", received_at=0.0))
        if mailbox.wants:
            mailbox.take(0.5)
    assert (order.begun, len(order), mailbox.full) == (WINDOW, WINDOW + 2, False)
