"""The frames of one stream that wait for a turn, and what a refusal means for them: one intake for each delivery."""

from typing import Protocol

from service.errors import ImageError, ServiceError
from service.live.frame import Answered, Frame
from service.live.order import Slot


class Intake(Protocol):
    """`now` is a reading of time.monotonic(). Nothing here waits."""

    @property
    def full(self) -> bool:
        """Whether no further frame may be read."""
        ...

    @property
    def wants(self) -> bool:
        """Whether a frame waits that may begin."""
        ...

    def put(self, frame: Frame) -> None:
        """The frame waits for its turn from now on."""
        ...

    def take(self, now: float) -> Slot | None:
        """The frame that begins now, with its deadline; None where it turns out to be too late for it."""
        ...

    def drain(self) -> None:
        """The end is near: a frame that waits has one more turn, and what that brings is its answer."""
        ...

    def answer(self, slot: Slot, answered: Answered) -> None:
        """A frame that had begun is answered."""
        ...

    def refuse(self, slot: Slot, error: ServiceError | ImageError, now: float) -> None:
        """A frame that had begun could not be answered: what becomes of it."""
        ...
