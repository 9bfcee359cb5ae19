"""One HTTP connection: uvicorn's own protocol, with an end to whatever a client could make us hold or wait for.

- A head (request line and headers) has so many bytes and so much time; trailers and chunk extensions have as many
  bytes, the rest of a body that was answered already as much time. Other bodies are service.api.body's.
- A process has so many connections: those beyond are told so.
- Who does not read its answer loses the connection, and with it what was to be sent.
- A connection that ends while its client still sends is shut for writing only, and what comes is dropped for a moment:
  to close with bytes unread would reset it, which could take the answer back from the client.

Whatever uvicorn closes is closed by `_end`. A request whose head and body come whole pays for this about a
microsecond, on top of uvicorn's ten. Knows nothing of what is asked and answered.
"""

import asyncio
import logging
import random
from typing import Any, ClassVar, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api.problems import Problem, describe
from service.app.wire import Bounds, Wire
from service.errors import MalformedRequest, Overloaded

logger = logging.getLogger(__name__)


class BoundedProtocol(HttpToolsProtocol):
    """`bounds` are the class's, since it is uvicorn that makes the instances."""

    bounds: ClassVar[Bounds] = Bounds()
    # As it is until the first request.
    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # Bytes since a head was complete or a part of a body came: they belong to neither.
        self._loose = 0
        self._head_too_large = False
        # Whether the body of the last request is still to come.
        self._receiving = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        # Bytes that were dropped since the end was decided; None before.
        self._dropped: int | None = None
        # Whether another protocol has the socket.
        self._upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The interface of asyncio.Protocol, as all that follows up to `resume_writing`."""
        self._socket = transport
        self._wire = Wire(transport, close=self._end, is_closing=self._is_ending)
        super().connection_made(cast(asyncio.Transport, self._wire))
        beyond = len(self.connections) - self.bounds.connections
        if beyond > self.bounds.turned_away:
            self._socket.abort()
        elif beyond > 0:
            self._refuse(describe(Overloaded("too many connections")))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come or go."""
        self._dropped = self._dropped or 0
        for timer in (self._head_timer, self._write_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what is neither a whole head nor a body."""
        if self._dropped is not None:
            self._drop(len(data))
            return
        self._loose += len(data)
        super().data_received(data)
        if self._upgraded:
            return
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope or cycle.response_complete:
            self._await_head()
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._loose > self.bounds.head_bytes:
            self._refuse(self._too_large())

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        self._limit_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        # What is left of a connection that was closed has to leave in time, too.
        if self._write_timer is not None and not self._socket.is_closing():
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def on_headers_complete(self) -> None:
        """The interface of the parser, as the two that follow."""
        if self._loose > self.bounds.head_bytes and self._head_size() > self.bounds.head_bytes:
            self._head_too_large = True
            raise _HeadTooLarge
        super().on_headers_complete()
        self._loose = 0
        self._receiving = True
        if self.cycle is not None and self.cycle.scope is self.scope:
            # The headers are the application's now. The parser brings trailers in the same way.
            self.headers = NOWHERE

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        self._loose = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        super().on_message_complete()
        self._receiving = False

    def handle_websocket_upgrade(self) -> None:
        """Hands the socket to uvicorn's protocol for WebSockets, which has bounds of its own."""
        if not self._may_answer():
            self._refuse(describe(MalformedRequest("an upgrade comes before the answer to what was asked before")))
            return
        self._upgraded = True
        self.transport = self._socket
        super().handle_websocket_upgrade()
        if self._head_timer is not None:
            self._head_timer.cancel()
        if self._write_timer is not None:
            self._write_timer.cancel()
            # An answer before is still on its way, and the other protocol has not been told.
            self._socket.get_protocol().pause_writing()
        self.parser = None  # type: ignore[assignment]  # as uvicorn does at the end of a connection

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers when the parser failed."""
        self._refuse(self._too_large() if self._head_too_large else describe(MalformedRequest(msg)))

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _too_large(self) -> Problem:
        detail = f"at most {self.bounds.head_bytes:,} bytes of request line and headers are taken"
        return Problem(431, "head-too-large", "Too many header bytes", detail)

    def _await_head(self) -> None:
        if self._head_timer is None and not self._is_ending():
            self._head_timer = self.loop.call_later(self.bounds.head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            # It comes while its predecessor is being answered, which has time limits of its own.
            self._await_head()
        elif self._loose and not self._receiving:
            detail = f"the headers did not arrive within {self.bounds.head_s:g} s"
            self._refuse(Problem(408, "head-too-slow", "The head arrived too slowly", detail))
        else:
            self._end()

    def _refuse(self, problem: Problem) -> None:
        """Answers what never reaches the application, and ends the connection."""
        if self._is_ending():
            return
        if self._may_answer():
            response = problem.response(f"{random.getrandbits(128):032x}", "*")
            headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            lines = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._socket.write(STATUS_LINE[problem.status] + lines + b"\r\n" + bytes(response.body))
        self._linger()

    def _may_answer(self) -> bool:
        """Whether the client would take an answer for that of what it is sending, and not of a request before."""
        cycle = self.cycle
        if cycle is not None and self._receiving:
            return not cycle.response_started and not self.pipeline
        return cycle is None or cycle.response_complete

    def _is_ending(self) -> bool:
        return self._dropped is not None or self._socket.is_closing()

    def _end(self) -> None:
        """Ends the connection once everything is written."""
        if self._is_ending():
            return
        if self._receiving or self.pipeline:
            self._linger()
        else:
            self._close()

    def _linger(self) -> None:
        self._dropped = 0
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_reading()
        if self._socket.can_write_eof():
            self._socket.write_eof()
        self._wire.write = _drop
        self._linger_timer = self.loop.call_later(self.bounds.linger_s, self._close)

    def _drop(self, count: int) -> None:
        self._dropped = (self._dropped or 0) + count
        if self._dropped > self.bounds.linger_bytes:
            self._close()

    def _close(self) -> None:
        self._socket.close()
        if self._socket.get_write_buffer_size():
            self._limit_writing()

    def _limit_writing(self) -> None:
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.bounds.write_s, self._abort)

    def _abort(self) -> None:
        logger.info("a client that does not read its answer is cut off")
        self._socket.abort()


class _Nowhere(list[tuple[bytes, bytes]]):
    def append(self, item: tuple[bytes, bytes], /) -> None:
        pass


class _HeadTooLarge(Exception):
    """Stops the parser, which tells of its callbacks' errors only that there was one."""


NOWHERE = _Nowhere()


def _drop(data: bytes | bytearray | memoryview) -> None:
    pass
