"""One stream as it stands: which frame may be read, which is sent next, what is outstanding.

Bookkeeping without I/O, locks or waiting, for the shells of both kinds. One frame waits to be sent, never more:

- `latest`: frames are read as they come, and a newer one takes the place of the one that waits. Were they queued, a
  slow network would send ever older ones; so what is sent is always the newest there is.
- `every`: the next frame is read once the one before is sent and the service has room for it (a credit), so that
  whoever makes the frames is held back, and nothing piles up on the way.
"""

from collections import deque
from dataclasses import replace

from service.client.errors import ClientError, ServiceFailed, ServiceUnavailable
from service.client.frames import Delivery, Frame, read_dropped, read_failed, read_result
from service.client.results import FramesDropped, Outcome
from service.streams.wire import detection_pb2 as pb

# Of ranges of frames that were not sent; more are told as one.
MOST_RANGES = 256


class Session:
    """The frames of one stream, each of which has one outcome as long as the stream lasts."""

    def __init__(self, delivery: Delivery) -> None:
        # Frames that may be unanswered; None: any number.
        self._credits: int | None = 0 if delivery == "every" else None
        self._unanswered = 0
        self._waiting: Frame | None = None
        self._last = -1
        # Frames that were replaced here, in order, until the answers have come as far.
        self._unsent: deque[FramesDropped] = deque()
        self._sent_since = True
        self._ended = False
        self._error: BaseException | None = None
        self._retry_after_s: float | None = None
        self._closing = False

    @property
    def wants_frame(self) -> bool:
        """Whether the next frame is to be read."""
        if self.over:
            return False
        return self._credits is None or (self._waiting is None and self._unanswered < self._credits)

    @property
    def over(self) -> bool:
        """Whether no further frame is taken."""
        return self._ended or self._closing

    @property
    def wants_sending(self) -> bool:
        """Whether `take` has a frame, or the news that none will come."""
        return self._waiting is not None or self.over

    def put(self, frame: Frame) -> None:
        """A frame that was read. Raises ValueError for a sequence number that does not rise."""
        sequence = self._last + 1 if frame.sequence is None else frame.sequence
        if sequence <= self._last:
            raise ValueError(f"sequence numbers must rise: {sequence} came after {self._last}")
        if self.over:
            return
        if self._waiting is not None:
            self._replace(self._waiting)
        self._last = sequence
        self._waiting = replace(frame, sequence=sequence)

    def take(self) -> Frame | None:
        """The frame to be sent now; None where there will be none."""
        if self._closing:
            return None
        frame, self._waiting = self._waiting, None
        if frame is not None:
            self._sent_since = True
            self._unanswered += 1
        return frame

    def end(self, error: BaseException | None = None) -> None:
        """No frame comes any more, or an error did in its place, which `conclude` raises."""
        # Who stops reading because the service is closing has not come to the end of the frames.
        self._ended = self._ended or not self._closing
        self._error = self._error or error

    def close(self) -> None:
        """Nothing more is sent, whatever waits."""
        self._closing = True

    def receive(self, response: pb.StreamResponse) -> list[Outcome]:
        """What the service said, after what comes before it of the frames that were not sent."""
        match response.WhichOneof("message"):
            case "opened":
                if self._credits is not None:
                    self._credits = response.opened.credits
                return []
            case "result":
                return self._answered(read_result(response.result), response.result.sequence)
            case "error":
                return self._answered(read_failed(response.error), response.error.sequence)
            case "dropped":
                dropped = read_dropped(response.dropped)
                return self._answered(dropped, dropped.last, dropped.count)
            case "closing":
                self._closing, self._retry_after_s = True, response.closing.retry_after
                return []
            case _:  # of a later version of the protocol
                return []

    def conclude(self) -> list[Outcome]:
        """What is left to tell once the service has ended the stream."""
        told: list[Outcome] = [*self._unsent]
        self._unsent.clear()
        return told

    def failure(self) -> BaseException | None:
        """The error that the frames ended in, or why a stream that the service ended well did not answer them all."""
        if self._error is not None:
            return self._error
        if self._ended and self._waiting is None and self._unanswered == 0:
            return None
        if self._closing:
            return _closing(self._retry_after_s)
        return ServiceFailed("the service ended the stream, although more frames came")

    def _answered(self, outcome: Outcome, last: int, count: int = 1) -> list[Outcome]:
        self._unanswered -= count
        outcomes: list[Outcome] = []
        while self._unsent and self._unsent[0].last < last:
            outcomes.append(self._unsent.popleft())
        return [*outcomes, outcome]

    def _replace(self, frame: Frame) -> None:
        assert frame.sequence is not None
        if self._unsent and (not self._sent_since or len(self._unsent) >= MOST_RANGES):
            before = self._unsent.pop()
            self._unsent.append(replace(before, last=frame.sequence, count=before.count + 1))
        else:
            self._unsent.append(FramesDropped("unsent", frame.sequence, frame.sequence, 1))
        self._sent_since = False


def _closing(retry_after_s: float | None) -> ClientError:
    return ServiceUnavailable("the service is shutting down", retry_after_s=retry_after_s)
