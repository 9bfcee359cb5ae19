"""Whose turn it is, decided without a clock and without a detector."""

from collections import Counter

import pytest

from service.live.turns import Share, Turns


class Sender:
    """Has so many frames to begin, and says in `began` that it did."""

    def __init__(self, turns: Turns, began: list["Sender"], frames: int = 10**9, *, ageing: bool = True) -> None:
        self.frames = frames
        self._began = began
        self.share = Share(turns, wants=lambda: self.frames > 0, begin=self._begin, ageing=ageing)

    def _begin(self) -> bool:
        self.frames -= 1
        self._began.append(self)
        return True


def test_no_more_are_out_than_may_be():
    began: list[Sender] = []
    turns = Turns(lambda: 3, lambda begun: True)
    for sender in [Sender(turns, began, 2) for _ in range(4)]:
        sender.share.ask()
    assert turns.under_way == len(began) == 3


def test_whoever_has_the_fewest_under_way_is_next_and_then_whoever_has_waited_longest():
    began: list[Sender] = []
    turns = Turns(lambda: 2, lambda begun: True)
    greedy, early, late = (Sender(turns, began, ageing=False) for _ in range(3))
    for sender in (greedy, early, late):
        sender.share.ask()
    began[0].share.leave()  # greedy has another one under way
    early.share.leave()  # and now everybody else has none
    assert began == [greedy, greedy, early, late]


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.parametrize("most", [1, 3, 4, 7])
def test_under_saturation_all_have_equal_shares(room: bool, most: int):
    began: list[Sender] = []
    turns = Turns(lambda: most, lambda begun: room)
    senders = [Sender(turns, began, ageing=n > 0) for n in range(3)]
    for sender in senders:
        sender.share.ask()
    for done in range(300):
        began[done].share.leave()
    counts = Counter(senders.index(sender) for sender in began[:300])
    assert max(counts.values()) - min(counts.values()) <= most + 1


def test_beyond_its_first_an_ageing_frame_begins_only_where_it_would_not_wait():
    began: list[Sender] = []
    free = 2
    turns = Turns(lambda: 10, lambda begun: begun < free)
    alone = Sender(turns, began)
    alone.share.ask()
    assert alone.share.under_way == 2
    free = 0
    alone.share.leave()
    assert alone.share.under_way == 1
    alone.share.leave()
    assert (alone.share.under_way, len(began)) == (1, 3)


def test_a_patient_stream_fills_all_turns():
    began: list[Sender] = []
    turns = Turns(lambda: 5, lambda begun: False)
    Sender(turns, began, ageing=False).share.ask()
    assert turns.under_way == 5


def test_a_frame_that_was_not_worth_it_takes_no_turn():
    began: list[Sender] = []
    turns = Turns(lambda: 1, lambda begun: True)
    stale = Share(turns, wants=iter([True, True, False]).__next__, begin=lambda: False, ageing=True)
    stale.ask()
    Sender(turns, began).share.ask()
    assert (stale.under_way, turns.under_way, len(began)) == (0, 1, 1)


def test_a_stream_that_closed_gets_no_turn():
    began: list[Sender] = []
    turns = Turns(lambda: 1, lambda begun: True)
    first, closed = Sender(turns, began, 1), Sender(turns, began)
    first.share.ask()
    closed.share.ask()
    closed.share.close()
    first.share.leave()
    assert (began, turns.under_way) == ([first], 0)


def test_of_those_with_as_many_under_way_the_one_that_had_fewer_turns_is_next():
    began: list[Sender] = []
    turns = Turns(lambda: 3, lambda begun: False)
    late, leaving, greedy = Sender(turns, began, 1), Sender(turns, began, 1), Sender(turns, began, ageing=False)
    for sender in (late, leaving, greedy):
        sender.share.ask()
    greedy.share.leave()  # and has its turn back, as nobody else has a frame
    late.frames = 1
    late.share.ask()
    leaving.share.leave()
    assert began == [late, leaving, greedy, greedy, late]


def test_a_stream_that_was_away_is_not_owed_all_the_time():
    began: list[Sender] = []
    turns = Turns(lambda: 1, lambda begun: True)
    steady, back = Sender(turns, began), Sender(turns, began)
    steady.share.ask()
    for done in range(100):
        began[done].share.leave()
    back.share.ask()
    for done in range(100, 110):
        began[done].share.leave()
    assert 4 <= Counter(began[101:111])[back] <= 7
