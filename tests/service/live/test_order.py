"""Answers leave in the order of their frames, and each frame is spoken for once."""

import random

import pytest

from service.errors import EngineFailed
from service.live import Dropped, Failed, Frame, Outcome
from service.live.order import Order


def frame(sequence: int) -> Frame:
    return Frame(sequence, b"", 0.0)


def take_all(order: Order) -> list[Outcome]:
    taken = []
    while (outcome := order.pop()) is not None:
        order.sent(outcome)
        taken.append(outcome)
    return taken


def spans(outcomes: list[Outcome]) -> list[tuple[int, int]]:
    return [(it.first, it.last) if isinstance(it, Dropped) else (it.frame.sequence,) * 2 for it in outcomes]


def test_an_answer_waits_for_those_before_it():
    order = Order()
    first, second = order.append(frame(1)), order.append(frame(2))
    second.outcome = Failed(second.frame, EngineFailed("ill"))
    assert (order.pop(), order.ready, order.unsent) == (None, False, 2)
    first.outcome = Failed(first.frame, EngineFailed("ill"))
    assert spans(take_all(order)) == [(1, 1), (2, 2)]
    assert order.unsent == 0


def test_a_flood_of_drops_takes_the_room_of_one():
    order = Order()
    order.append(frame(0))
    for sequence in range(1, 10_000):
        order.drop(order.append(frame(sequence)), "replaced")
    assert (len(order), order.unsent) == (2, 10_000)


def test_drops_for_different_reasons_stay_apart():
    order = Order()
    for sequence, reason in enumerate(("rate", "rate", "stale", "rate")):
        order.drop(order.append(frame(sequence)), reason)
    assert take_all(order) == [Dropped("rate", 0, 1, 2), Dropped("stale", 2, 2, 1), Dropped("rate", 3, 3, 1)]


def test_drops_that_come_to_stand_together_are_sent_as_one():
    order = Order()
    slots = [order.append(frame(sequence)) for sequence in (3, 5, 9)]
    for slot in slots:
        order.begin(slot)
    for slot in reversed(slots):
        order.drop(slot, "stale")
    assert order.begun == 3
    assert take_all(order) == [Dropped("stale", 3, 9, 3)]
    assert (order.begun, order.unsent, len(order)) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(50))
def test_whatever_happens_in_whatever_order_each_frame_is_spoken_for_once(seed: int):
    chance = random.Random(seed)
    order, open_slots, taken, waiting = Order(), [], [], None
    for sequence in range(200):
        if waiting is not None:
            if chance.random() < 0.5:
                order.drop(waiting, chance.choice(["replaced", "stale"]))
            else:
                order.begin(waiting)
                open_slots.append(waiting)
        waiting = order.append(frame(sequence))
        while open_slots and chance.random() < 0.4:
            slot = open_slots.pop(chance.randrange(len(open_slots)))
            if chance.random() < 0.5:
                order.drop(slot, chance.choice(["stale", "rate"]))
            else:
                slot.outcome = Failed(slot.frame, EngineFailed("ill"))
        taken += take_all(order) if chance.random() < 0.3 else []
    for slot in (*open_slots, waiting):
        order.drop(slot, "overloaded")
    numbers = [number for first, last in spans(taken + take_all(order)) for number in range(first, last + 1)]
    assert (numbers, order.unsent, order.begun) == (list(range(200)), 0, 0)
