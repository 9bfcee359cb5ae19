"""A frame of a stream, and the three things that may become of it. Every frame becomes exactly one of them."""

from dataclasses import dataclass, replace
from typing import Literal

from service.detector import Detected, Picture, Served
from service.detector.options import DetectOptions
from service.errors import ImageError, ServiceError

DropReason = Literal["replaced", "stale", "overloaded", "rate"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """`received_at` is a reading of time.monotonic(); `captured_at` is the sender's own, and only echoed.

    `options`, where there are any, take the place of those that the stream was opened with, but for the model.
    """

    sequence: int
    picture: Picture
    received_at: float
    captured_at: float | None = None
    options: DetectOptions | None = None

    def emptied(self) -> "Frame":
        """Without its picture, which an answer that waits for its reader need not hold."""
        return replace(self, picture=b"")


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """`age_s`: from the receipt of the frame until this was ready. The frame has no picture any more."""

    frame: Frame
    detected: Detected
    served: Served
    age_s: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """`count` frames in a row, whose first and last sequence numbers are given."""

    reason: DropReason
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """The frame, which has no picture any more, could not be answered; the stream goes on."""

    frame: Frame
    error: ServiceError | ImageError


Outcome = Answered | Dropped | Failed


@dataclass(frozen=True, slots=True)
class Latest:
    """Delivery: the newest frame wins, and one that is older than `max_age_s` is not answered."""

    max_age_s: float


@dataclass(frozen=True, slots=True)
class Every:
    """Delivery: nothing is dropped; at most `credits` frames are unanswered at a time."""

    credits: int


Delivery = Latest | Every
