"""Delivery `latest`: one frame waits, the newest; each has an age budget, and whatever is in its way drops it."""

from service.errors import DeadlineExceeded, ImageError, Overloaded, RateLimited, ServiceError, TooLate
from service.live.frame import Answered, Failed, Frame
from service.live.order import Order, Slot

# Frames that had a turn and whose answers were not taken yet; while there are so many, no further one begins.
WINDOW = 32
# Of these there can be more only where a sender breaks the rules: it is not listened to until they are taken.
MOST_ANSWERS = 4 * WINDOW


class Mailbox:
    """See Intake."""

    def __init__(self, order: Order, max_age_s: float) -> None:
        self._order = order
        self._max_age_s = max_age_s
        self._newest: Slot | None = None

    @property
    def full(self) -> bool:
        """Hardly ever: whoever sends too much has its frames dropped, and one drop takes as much room as many."""
        return len(self._order) >= MOST_ANSWERS

    @property
    def wants(self) -> bool:
        """A reader of answers that is slow gets no further ones, only drops."""
        return self._newest is not None and self._order.begun < WINDOW

    def put(self, frame: Frame) -> None:
        """Replaces the one that waited."""
        if self._newest is not None:
            self._order.drop(self._newest, "replaced")
        self._newest = self._order.append(frame)

    def take(self, now: float) -> Slot | None:
        """The newest, unless its time is over."""
        slot, self._newest = self._newest, None
        assert slot is not None
        slot.deadline = slot.frame.received_at + self._max_age_s
        if slot.deadline <= now:
            self._order.drop(slot, "stale")
            return None
        self._order.begin(slot)
        return slot

    def answer(self, slot: Slot, answered: Answered) -> None:
        """See Intake."""
        slot.settle(answered)

    def drain(self) -> None:
        """See Intake. Nothing is tried again anyway."""

    def refuse(self, slot: Slot, error: ServiceError | ImageError, now: float) -> None:
        """It is not tried again: a newer frame is worth more."""
        match error:
            case TooLate() | DeadlineExceeded():
                self._order.drop(slot, "stale")
            case Overloaded():
                self._order.drop(slot, "overloaded")
            case RateLimited():
                self._order.drop(slot, "rate")
            case _:
                slot.settle(Failed(slot.frame.emptied(), error))
