"""A stream on an event loop: one task reads the frames, one sends them, the caller reads the answers.

A write is awaited until it has left, so `latest` leaves no old frames on the way: while one is being sent, the newest
of those that come meanwhile waits in the session, and no other does.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import numpy as np

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

AsyncFrames = AsyncIterable[bytes | Pixels | Frame]

# How long the end of a stream waits for its frames to be closed.
CLOSE_S = 5.0


@dataclass(frozen=True, slots=True)
class AsyncLine:
    """What a stream is opened on, and how long that is tried. `metadata` brings the key, `close_s` bounds its end."""

    stub: DetectionStub
    metadata: tuple[tuple[str, str], ...]
    retries: Retries
    timeout_s: float
    sleep: Callable[[float], Awaitable[None]]
    close_s: float = CLOSE_S


async def stream_frames(line: AsyncLine, frames: AsyncFrames, opening: Opening) -> AsyncGenerator[Outcome, None]:
    """What became of each frame. Raises a ClientError, and whatever the frames raise. See AsyncClient.stream."""
    call, feed = await _open(line, opening)
    reader, sender = asyncio.create_task(feed.read(frames)), asyncio.create_task(feed.send(call))
    try:
        while (response := await _next(call)) is not None:
            for outcome in feed.receive(response):
                yield outcome
        for outcome in feed.session.conclude():
            yield outcome
        failure = feed.session.failure()
        if failure is not None:
            raise failure
    finally:
        call.cancel()
        sender.cancel()
        if not feed.closing:
            reader.cancel()
        await _leave((reader, sender), line.close_s)


class AsyncFeed:
    """The session, shared among the tasks of one stream."""

    def __init__(self, opening: Opening) -> None:
        self.session = Session(opening.delivery)
        # Whether the frames are being closed, which is not to be cancelled.
        self.closing = False
        self._opening = opening
        self._changed = asyncio.Event()

    async def read(self, frames: AsyncFrames) -> None:
        """Reads the frames, as they are wanted, until they end or nobody wants more, and closes them."""
        source = None
        try:
            source = aiter(frames)
            while await self._wants_frame():
                try:
                    picture = await anext(source)
                except StopAsyncIteration:
                    break
                self.session.put(Frame.of(picture))
                self._changed.set()
                # The frames may be there without a wait, and others must get their turn.
                await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            # Of this task, or of something that the frames wait for, which the caller would not hear of.
            cancelled = RuntimeError("what the frames come from was cancelled")
            cancelled.__cause__ = error
            self._end(cancelled)
            raise
        except Exception as error:  # noqa: BLE001 - the caller's task raises it
            self._end(error)
        else:
            self._end(None)
        finally:
            self.closing = True
            await _close(source)

    async def send(self, call: Any) -> None:
        """Sends the frames that wait, until there will be none. Where the call ends first, its reader is told why."""
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            while (message := await self._next_message()) is not None:
                await call.write(message)
            await call.done_writing()

    def receive(self, response: pb.StreamResponse) -> list[Outcome]:
        """What the service said."""
        outcomes = self.session.receive(response)
        self._changed.set()
        return outcomes

    async def _next_message(self) -> pb.StreamRequest | None:
        await self._until(lambda: self.session.wants_sending)
        frame = self.session.take()
        self._changed.set()
        if frame is None:
            return None
        try:
            if isinstance(frame.picture, np.ndarray):
                return await asyncio.to_thread(self._opening.frame_message, frame)
            return self._opening.frame_message(frame)
        except Exception as error:  # noqa: BLE001 - the caller's task raises it
            self._end(error)
            return None

    async def _wants_frame(self) -> bool:
        await self._until(lambda: self.session.wants_frame or self.session.over)
        return not self.session.over

    async def _until(self, holds: Callable[[], bool]) -> None:
        # Whoever waits for the event is woken by it, also where another waiter clears it before.
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def _end(self, error: Exception | None) -> None:
        self.session.end(error)
        self._changed.set()


async def _open(line: AsyncLine, opening: Opening) -> tuple[Any, AsyncFeed]:
    """The call, once the service has opened its side. No frame is read before, so it can be tried again."""
    attempts = line.retries.within(line.timeout_s)
    while True:
        left_s, feed = attempts.left_s(), AsyncFeed(opening)
        call = _begin(line)
        try:
            async with asyncio.timeout(left_s):
                feed.receive(await _opened(call, opening))
        except TimeoutError:
            call.cancel()
            raise TimedOut("the stream did not open in time") from None
        except ClientError as error:
            call.cancel()
            await line.sleep(attempts.pause_s(error))
        except BaseException:
            call.cancel()
            raise
        else:
            return call, feed


def _begin(line: AsyncLine) -> Any:
    try:
        return line.stub.DetectStream(metadata=line.metadata)
    except grpc.aio.UsageError as exc:  # so gRPC says that its channel is closed
        raise ConnectionFailed(CLOSED) from exc


async def _opened(call: Any, opening: Opening) -> pb.StreamResponse:
    # Where this fails the reading does, too, and knows more.
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
        await call.write(opening.to_message())
    response = await _next(call)
    if response is None or not response.HasField("opened"):
        raise ServiceFailed("the service did not open the stream")
    return response


async def _next(call: Any) -> pb.StreamResponse | None:
    """The next answer; None after the last one."""
    try:
        response = await call.read()
    except grpc.RpcError as exc:
        raise call_error(exc) from exc
    except asyncio.CancelledError as exc:
        # So gRPC says also that the call was cancelled, as by the end of its channel, where nobody cancelled the task.
        task = asyncio.current_task()
        if task is None or task.cancelling() or not call.cancelled():
            raise
        raise ConnectionFailed(CLOSED) from exc
    return None if response is grpc.aio.EOF else response


async def _close(source: object) -> None:
    """Closes a generator, as nobody else can do in time; what else gives frames may be wanted for longer."""
    if not isinstance(source, AsyncGenerator):
        return
    try:
        await source.aclose()
    except Exception:
        logger.warning("the frames of a stream could not be closed", exc_info=True)


async def _leave(tasks: Sequence["asyncio.Task[None]"], close_s: float) -> None:
    """Waits for tasks that are ending. One that does not is told again, and left to the loop."""
    _, left = await asyncio.wait(tasks, timeout=close_s)
    for task in left:
        logger.warning("the frames of a stream did not end within %g s, and are left", close_s)
        task.cancel()
