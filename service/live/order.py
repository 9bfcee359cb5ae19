"""The answers of one stream in the order of its frames. Nothing here waits.

A frame has its slot from its receipt until its answer is sent. Drops of the same reason that stand next to each other
become one, so that a flood of frames that nobody has time for takes no more room than one of them.
"""

from collections import deque
from dataclasses import dataclass

from service.errors import ServiceError
from service.live.frame import Dropped, DropReason, Frame, Outcome


@dataclass(slots=True, eq=False)
class Slot:
    """`outcome` is None until it is known. `deadline` is set once the frame had its first turn.

    `begun`: it had a turn. `charged`: it was taken from the client's rate. `refusal`: why it is to be tried again.
    """

    frame: Frame
    outcome: Outcome | None = None
    deadline: float | None = None
    begun: bool = False
    charged: bool = False
    refusal: ServiceError | None = None

    def settle(self, outcome: Outcome) -> None:
        """What became of it; nobody needs its picture any more, however long the answer waits to be sent."""
        self.outcome = outcome
        self.frame = self.frame.emptied()


class Order:
    """`unsent` are the frames whose answer was not sent, `begun` those of them that had a turn."""

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()
        self.unsent = 0
        self.begun = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def ready(self) -> bool:
        """Whether the next answer is known."""
        return bool(self._slots) and self._slots[0].outcome is not None

    def append(self, frame: Frame) -> Slot:
        """The newest frame."""
        slot = Slot(frame)
        self._slots.append(slot)
        self.unsent += 1
        return slot

    def begin(self, slot: Slot) -> None:
        """It has a turn."""
        if not slot.begun:
            slot.begun = True
            self.begun += 1

    def drop(self, slot: Slot, reason: DropReason) -> None:
        """The newest of a row of drops joins those before it."""
        sequence = slot.frame.sequence
        slot.settle(Dropped(reason, sequence, sequence, 1))
        if len(self._slots) > 1 and self._slots[-1] is slot and not slot.begun:
            before = self._slots[-2]
            joined = _join(before.outcome, slot.outcome)
            if joined is not None:
                before.outcome = joined
                self._slots.pop()

    def pop(self) -> Outcome | None:
        """What is to be sent next; None as long as that is not known. `sent` is to be told of it."""
        if not self.ready:
            return None
        outcome = self._take()
        while self._slots and (joined := _join(outcome, self._slots[0].outcome)) is not None:
            self._take()
            outcome = joined
        return outcome

    def sent(self, outcome: Outcome) -> None:
        """It has left."""
        self.unsent -= outcome.count if isinstance(outcome, Dropped) else 1

    def _take(self) -> Outcome:
        slot = self._slots.popleft()
        self.begun -= slot.begun
        assert slot.outcome is not None
        return slot.outcome


def _join(one: Outcome | None, other: Outcome | None) -> Dropped | None:
    if isinstance(one, Dropped) and isinstance(other, Dropped) and one.reason == other.reason:
        return Dropped(one.reason, one.first, other.last, one.count + other.count)
    return None
