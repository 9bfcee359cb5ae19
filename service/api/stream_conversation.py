"""One client's stream over a WebSocket: it opens, frames come, outcomes go, and it ends with a code that says why.

What becomes of frames is service.live's business; who may come in was settled before.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from service.access import Client
from service.api.problems import Problem, describe
from service.api.stream_messages import (
    End,
    FrameHead,
    NotJson,
    Open,
    Options,
    read_message,
    write_opened,
    write_outcome,
    write_problem,
)
from service.api.stream_socket import StreamSocket
from service.detector.options import DetectOptions, resolve_options
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientLeft,
    Draining,
    MalformedRequest,
    ServiceError,
    Unavailable,
)
from service.live import Closing, Frame, Outcome, Streams, Wanted
from service.vision.spec import ModelSpec

logger = logging.getLogger(__name__)

OPENING_S = 10.0
# For the reason of an end, where the client may not be reading.
LAST_WORDS_S = 2.0
RETRY_AFTER_S = 1.0

DONE, GOING_AWAY, INVALID_DATA, POLICY, TOO_BIG, INTERNAL, TRY_LATER = 1000, 1001, 1007, 1008, 1009, 1011, 1013
LOST = 1006
# A page that is closed says 1001, most others 1000 or nothing.
LEFT_IN_ORDER = (DONE, GOING_AWAY, 1005)
PLAIN = FrameHead(type="frame")
BUG = Problem(500, "internal", "Internal error", "this is a bug of the service, not of your stream")


@dataclass(slots=True)
class Conversation:
    """`error` is the name of what ended it, where it did not simply end. `opening_s`: time for the first message."""

    streams: Streams
    socket: StreamSocket
    client: Client
    peer: str
    opening_s: float = OPENING_S
    error: str | None = field(default=None, init=False)
    _told_closing: bool = field(default=False, init=False)

    async def opening(self) -> Open:
        """The first message. Raises ClientLeft, Draining, or what is wrong with it."""
        try:
            async with asyncio.timeout(self.opening_s):
                message = await self.socket.receive()
        except TimeoutError:
            raise BodyTooSlow(f"no open message came within {self.opening_s:g} s") from None
        opening = read_message(message) if isinstance(message, str) else None
        if not isinstance(opening, Open):
            raise MalformedRequest("the first message must be a text with the type open")
        return opening

    async def go_on(self, opening: Open) -> int:
        """Everything after that. The code that it is to be closed with. Raises as `opening` does."""
        wanted = Wanted(
            options=opening.detect_options(),
            delivery=opening.wanted_delivery(),
            client=self.client,
            peer=self.peer,
            name=opening.name,
            transport="websocket",
        )
        with self.streams.open(wanted) as stream:
            await self.socket.tell(write_opened(stream.served, stream.delivery))
            async with aclosing(self._frames(opening, stream.served.spec)) as frames:
                await stream.run(frames, self._send)
        return GOING_AWAY if self._told_closing else DONE

    async def end(self, error: BaseException | None, code: int = DONE) -> int:
        """Says why and closes. The code that it ended with."""
        if isinstance(error, ClientLeft):
            code = self.socket.left or LOST
            self.error = None if code in LEFT_IN_ORDER else describe(error).name
            return code
        problem: Problem | None = None
        if error is not None:
            code = close_code(error)
            problem = describe(error) if isinstance(error, ServiceError) else BUG
            self.error = problem.name
        with suppress(ClientLeft):
            if problem is not None:
                await self._explain(problem, code)
            await self.socket.close(code, problem.name if problem else "")
        return code

    async def _explain(self, problem: Problem, code: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                if code == GOING_AWAY:
                    await self._send(Closing(RETRY_AFTER_S))
                else:
                    await self.socket.tell({"type": "error", "problem": write_problem(problem)})

    async def _frames(self, opening: Open, spec: ModelSpec) -> AsyncGenerator[Frame, None]:
        head: FrameHead | None = None
        options: DetectOptions | None = None
        sequence = 0
        while True:
            try:
                message = await self.socket.receive()
            except Draining:
                # What came before is answered.
                await self._send(Closing(RETRY_AFTER_S))
                return
            if isinstance(message, bytes):
                head = head or PLAIN
                sequence = sequence if head.sequence is None else head.sequence
                yield Frame(sequence, head.picture(message), time.monotonic(), head.captured_at, options)
                head, sequence = None, sequence + 1
                continue
            if head is not None:
                raise MalformedRequest("a picture must follow its frame message")
            match read_message(message):
                case FrameHead() as head:
                    pass
                case Options() as changed:
                    options = changed.detect_options(opening)
                    resolve_options(options, spec)  # before the frames do
                case End():
                    return
                case Open():
                    raise MalformedRequest("the stream is open already")

    async def _send(self, outcome: Outcome | Closing) -> None:
        if isinstance(outcome, Closing):
            # The server and the streams both say so.
            if self._told_closing:
                return
            self._told_closing = True
        await self.socket.tell(write_outcome(outcome))


def close_code(error: BaseException) -> int:
    """What RFC 6455 calls it."""
    match error:
        case NotJson():
            return INVALID_DATA
        case BodyTooLarge():
            return TOO_BIG
        case Draining() | asyncio.CancelledError():
            return GOING_AWAY
        case Unavailable():
            return TRY_LATER
        case ServiceError():
            return POLICY
        case _:
            return INTERNAL
