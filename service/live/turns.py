"""Whose frame goes to the detector next: equal shares for all streams of the process. Nothing here waits.

A frame goes only when its stream has a turn, so what waits, waits here, where a newer frame can still replace it. Only
as many turns are out as keep the threads and the engine busy. A free one goes to the stream with the fewest frames
under way, of those to the one that had the fewest turns, of those to the one that has waited longest: whatever a stream
offers, and however little it minds to wait. Who had nothing to offer for a while is owed a few turns and no more.

A stream whose frames must not age takes a turn beyond its first only where the frame would start at once, so that it
makes no queue of its own in front of the engine. Where somebody patient makes one anyway, it has its share of that.
"""

from collections.abc import Callable
from itertools import count

# Turns that a stream may catch up on; so a camera whose next frame comes a little late does not lose its share.
OWED = 2


class Share:
    """One stream's part in the turns.

    `wants` says whether a frame waits; `begin` begins it, unless it is not worth it any more, and says whether it did.
    `ageing`: its frames lose their worth in a queue.
    """

    def __init__(self, turns: "Turns", *, wants: Callable[[], bool], begin: Callable[[], bool], ageing: bool) -> None:
        self._turns = turns
        self.wants = wants
        self.begin = begin
        self.ageing = ageing
        self.under_way = 0
        self.had = 0

    def ask(self) -> None:
        """A frame may be waiting; it begins now, or as soon as its turn comes."""
        self._turns.ask(self)

    def leave(self) -> None:
        """A frame that had begun is done."""
        self._turns.leave(self)

    def close(self) -> None:
        """The stream begins no further frame."""
        self._turns.forget(self)


class Turns:
    """`most` says how many turns may be out, `room` whether a frame that began after so many others would not wait.

    Both are asked again and again, since what is loaded and what is busy changes.
    """

    def __init__(self, most: Callable[[], int], room: Callable[[int], bool]) -> None:
        self._most = most
        self._room = room
        self._tickets = count()
        # Since when each waits, by a number that rises.
        self._waiting: dict[Share, int] = {}
        # How many turns a stream has had that always had a frame.
        self._round = 0
        self.under_way = 0

    def ask(self, share: Share) -> None:
        """See Share."""
        if share.wants():
            self._queue(share)
            self._grant()

    def leave(self, share: Share) -> None:
        """See Share."""
        share.under_way -= 1
        self.under_way -= 1
        if share.wants():
            self._queue(share)
        self._grant()

    def forget(self, share: Share) -> None:
        """See Share."""
        self._waiting.pop(share, None)

    def _grant(self) -> None:
        # Of these the detector does not know before the loop's next step.
        begun = 0
        while self._waiting and self.under_way < self._most():
            share = self._next(begun)
            if share is None:
                return
            del self._waiting[share]
            if share.wants() and share.begin():
                self._round = max(self._round, share.had)
                share.had += 1
                share.under_way += 1
                self.under_way += 1
                begun += 1
            if share.wants():
                self._queue(share)

    def _queue(self, share: Share) -> None:
        if share not in self._waiting:
            share.had = max(share.had, self._round - OWED)
            self._waiting[share] = next(self._tickets)

    def _next(self, begun: int) -> Share | None:
        chosen = min(self._waiting, key=self._rank)
        if not (chosen.ageing and chosen.under_way) or self._room(begun):
            return chosen
        return None if all(share.ageing for share in self._waiting) else chosen

    def _rank(self, share: Share) -> tuple[int, int, int]:
        return share.under_way, share.had, self._waiting[share]
