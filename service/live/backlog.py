"""Delivery `every`: nothing is dropped. What refuses a frame and passes is waited for, until the frame's deadline.

The whole stream pauses then, since what refuses one of its frames refuses the next as well. The sender is held back by
its credits.
"""

import heapq
from collections.abc import Callable

from service.errors import (
    DeadlineExceeded,
    EngineDown,
    ImageError,
    ModelNotReady,
    Overloaded,
    RateLimited,
    ServiceError,
)
from service.live.frame import Answered, Failed, Frame
from service.live.order import Order, Slot

# Pauses after refusals, doubled each time.
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class Backlog:
    """See Intake. At most `most` frames are unanswered.

    `pause` is given the seconds after which to call `resume`. `timeout_s`: from a frame's first turn to its deadline.
    """

    def __init__(self, order: Order, most: int, timeout_s: float, *, pause: Callable[[float], None]) -> None:
        self._order = order
        self._most = most
        self._timeout_s = timeout_s
        self._pause = pause
        # By sequence number, because one that is tried again comes before those that never were.
        self._waiting: list[tuple[int, Slot]] = []
        self._paused = False
        self._pause_s = FIRST_PAUSE_S
        self._patient = True

    @property
    def full(self) -> bool:
        """No credits are left."""
        return self._order.unsent >= self._most

    @property
    def wants(self) -> bool:
        """See Intake."""
        return bool(self._waiting) and not self._paused

    def put(self, frame: Frame) -> None:
        """See Intake."""
        heapq.heappush(self._waiting, (frame.sequence, self._order.append(frame)))

    def take(self, now: float) -> Slot | None:
        """The oldest."""
        _, slot = heapq.heappop(self._waiting)
        if slot.deadline is None:
            slot.deadline = now + self._timeout_s
        elif slot.deadline <= now:
            late = slot.refusal or DeadlineExceeded("the deadline passed before the frame was done")
            slot.settle(Failed(slot.frame.emptied(), late))
            return None
        self._order.begin(slot)
        return slot

    def drain(self) -> None:
        """See Intake."""
        self._patient = self._paused = False

    def resume(self) -> None:
        """The pause is over."""
        self._paused = False

    def answer(self, slot: Slot, answered: Answered) -> None:
        """See Intake."""
        slot.settle(answered)
        self._pause_s = FIRST_PAUSE_S

    def refuse(self, slot: Slot, error: ServiceError | ImageError, now: float) -> None:
        """See Intake."""
        assert slot.deadline is not None
        match error:
            case RateLimited():
                pause_s: float = error.retry_after_s
            case Overloaded() | EngineDown() | ModelNotReady():
                pause_s = self._pause_s
            case _:
                slot.settle(Failed(slot.frame.emptied(), error))
                return
        if now + pause_s >= slot.deadline or not self._patient:
            slot.settle(Failed(slot.frame.emptied(), error))
            return
        slot.refusal = error
        heapq.heappush(self._waiting, (slot.frame.sequence, slot))
        if not self._paused:
            self._paused = True
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._pause(pause_s)
