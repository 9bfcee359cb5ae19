"""A stream with threads: the caller's reads the answers, one of ours reads the frames, gRPC's own sends them.

gRPC takes a message from the iterator that it is given once the one before has left, so `latest` leaves no old frames
on the way: while one is being sent, the newest of those that come meanwhile waits in the session, and no other does.
"""

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from service.client.errors import CLOSED, ClientError, ConnectionFailed, ServiceFailed, TimedOut
from service.client.frames import Frame, Opening
from service.client.picture import Pixels
from service.client.results import Outcome
from service.client.retry import Retries
from service.client.rpc import call_error
from service.client.session import Session
from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

logger = logging.getLogger(__name__)

Frames = Iterable[bytes | Pixels | Frame]

# How long a caller that leaves waits for the thread that reads its frames.
LEAVE_S = 1.0
LATE = "the stream did not open in time"


@dataclass(frozen=True, slots=True)
class Line:
    """What a stream is opened on, and how long that is tried. `metadata` brings the key."""

    stub: DetectionStub
    metadata: tuple[tuple[str, str], ...]
    retries: Retries
    timeout_s: float
    sleep: Callable[[float], None]


def stream_frames(line: Line, frames: Frames, opening: Opening) -> Generator[Outcome, None, None]:
    """What became of each frame. Raises a ClientError, and whatever the frames raise. See Client.stream."""
    call, feed = _open(line, opening)
    reader = threading.Thread(target=feed.read, args=(frames,), name="yolov7-frames", daemon=True)
    try:
        reader.start()
        while (response := _next(call)) is not None:
            yield from feed.receive(response)
        yield from feed.conclude()
    finally:
        _leave(call, feed)
        if reader.ident is not None:
            reader.join(LEAVE_S)


class Feed:
    """The session, shared among the threads of one stream."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._session = Session(opening.delivery)
        self._changed = threading.Condition()

    def requests(self) -> Iterator[pb.StreamRequest]:
        """What gRPC's thread sends."""
        yield self._opening.to_message()
        try:
            while (frame := self._take()) is not None:
                yield self._opening.frame_message(frame)
        except Exception as error:  # noqa: BLE001 - the caller's thread raises it
            self._end(error)

    def read(self, frames: Frames) -> None:
        """Reads the frames, as they are wanted, until they end or nobody wants more, and closes them."""
        source = None
        try:
            source = iter(frames)
            while self._wants_frame():
                try:
                    picture = next(source)
                except StopIteration:
                    break
                self._put(Frame.of(picture))
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self._end(error)
        else:
            self._end(None)
        _close(source)

    def receive(self, response: pb.StreamResponse) -> list[Outcome]:
        """What the service said."""
        with self._changed:
            outcomes = self._session.receive(response)
            self._changed.notify_all()
            return outcomes

    def conclude(self) -> Iterator[Outcome]:
        """The last outcomes; then raises what went wrong, if anything did."""
        with self._changed:
            outcomes, failure = self._session.conclude(), self._session.failure()
        yield from outcomes
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Wakes the threads, which then end."""
        with self._changed:
            self._session.close()
            self._changed.notify_all()

    def _wants_frame(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._session.wants_frame or self._session.over)
            return not self._session.over

    def _put(self, frame: Frame) -> None:
        with self._changed:
            self._session.put(frame)
            self._changed.notify_all()

    def _take(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._session.wants_sending)
            frame = self._session.take()
            self._changed.notify_all()
            return frame

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._session.end(error)
            self._changed.notify_all()


class Patience:
    """Whether a call's first answer or the end of its time came first: whichever it was, the other does nothing."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._decided = threading.Lock()
        self._ended: bool | None = None

    def end(self) -> None:
        """Time is up. Cancels the call, unless its answer was there before."""
        with self._decided:
            if self._ended is not None:
                return
            self._ended = True
        self._call.cancel()

    def ended(self) -> bool:
        """Asked once the call has answered: whether that came too late. From then on `end` does nothing."""
        with self._decided:
            if self._ended is None:
                self._ended = False
            return self._ended


def _open(line: Line, opening: Opening) -> tuple[Any, Feed]:
    """The call, once the service has opened its side. No frame is read before, so it can be tried again."""
    attempts = line.retries.within(line.timeout_s)
    while True:
        left_s, feed = attempts.left_s(), Feed(opening)
        call = _begin(line, feed)
        try:
            feed.receive(_opened(call, left_s))
        except ClientError as error:
            _leave(call, feed)
            line.sleep(attempts.pause_s(error))
        except BaseException:
            _leave(call, feed)
            raise
        else:
            return call, feed


def _begin(line: Line, feed: Feed) -> Any:
    try:
        return line.stub.DetectStream(feed.requests(), metadata=line.metadata)
    except ValueError as exc:  # so gRPC says that its channel is closed
        raise ConnectionFailed(CLOSED) from exc


def _opened(call: Any, left_s: float) -> pb.StreamResponse:
    # The call itself has no deadline, since it lasts as long as the stream.
    patience = Patience(call)
    timer = threading.Timer(left_s, patience.end)
    timer.daemon = True
    timer.start()
    try:
        response = _next(call)
    except ClientError as error:
        if patience.ended():
            raise TimedOut(LATE) from error
        raise
    finally:
        timer.cancel()
    if patience.ended():
        raise TimedOut(LATE)
    if response is None or not response.HasField("opened"):
        raise ServiceFailed("the service did not open the stream")
    return response


def _next(call: Any) -> pb.StreamResponse | None:
    """The next answer; None after the last one."""
    try:
        response: pb.StreamResponse | None = next(call, None)
    except grpc.RpcError as exc:
        raise call_error(exc) from exc
    return response


def _close(source: object) -> None:
    """Closes a generator, as nobody else can do in time; what else gives frames may be wanted for longer."""
    if not isinstance(source, Generator):
        return
    try:
        source.close()
    except Exception:
        logger.warning("the frames of a stream could not be closed", exc_info=True)


def _leave(call: Any, feed: Feed) -> None:
    feed.close()
    call.cancel()
