"""One WebSocket connection: uvicorn's own protocol, with an end to whatever a client could make us hold or wait for.

- What the application has not asked for yet stays in the socket, but for a few pieces of what was read.
- A message comes in so many fragments; how many bytes it may have is uvicorn's setting.
- Who does not read loses the connection, and with it what was to be sent; its pings are not answered meanwhile.
- A connection that ends because of what its client sends is shut for writing only, and what still comes is dropped for
  a moment: to close with bytes unread would reset it, which could take our last words back.
- Who is too busy sending to answer a ping, or is not read from at the moment, is alive.

Messages are not compressed: pictures are as small as they get, and a few bytes could become megabytes here. When the
server shuts down, the application is told by a disconnect with the code 1012, behind what was received before; what
becomes of the connection is the application's to say.
"""

import asyncio
import logging
import random
from http import HTTPStatus
from typing import Any, ClassVar, cast

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from service.api.problems import Problem
from service.app.wire import Bounds, Wire

logger = logging.getLogger(__name__)
# uvicorn and websockets tell requests with their queries and headers, where tickets and keys are: of what they say,
# only what is wrong is taken.
discreet = logging.getLogger(f"{__name__}.wire")
discreet.setLevel(logging.WARNING)

# So much is taken apart at a time; small messages pile up from no more.
PIECE_BYTES = 16 * 1024
# A browser makes fewer of the largest picture.
MOST_FRAGMENTS = 16 * 1024
NOTHING = memoryview(b"")


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """`bounds` are the class's, since it is uvicorn that makes the instances."""

    bounds: ClassVar[Bounds] = Bounds()

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = discreet
        self.conn = _Conversation(max_size=config.ws_max_size, logger=discreet)
        self._unparsed = NOTHING
        # Whether a message has come since the last ping.
        self._heard = False
        self._write_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        # Bytes that were dropped since an end was forced; None before.
        self._dropped: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The interface of asyncio.Protocol, as all that follows up to `resume_writing`."""
        self._socket = cast(asyncio.Transport, transport)
        wire = Wire(self._socket, close=self._end, is_closing=self._socket.is_closing)
        super().connection_made(cast(asyncio.Transport, wire))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come or go."""
        for timer in (self._write_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._unparsed = NOTHING
        self._dropped = self._dropped or 0
        if self.handshake_complete and self.conn.close_rcvd is None:
            # uvicorn says 1005, as if there had been a close without a code.
            self.queue.put_nowait({"type": "websocket.disconnect", "code": int(CloseCode.ABNORMAL_CLOSURE)})
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes apart what the application waits for; more comes when it has asked for that."""
        if self._dropped is not None:
            self._drop(len(data))
            return
        # TLS may bring some that was under way when reading was paused.
        self._unparsed = memoryview(bytes(self._unparsed) + data if self._unparsed else data)
        self._parse()
        if not self.handshake_initiated:
            self._refuse()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is told things."""
        super().pause_writing()
        self._limit_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        # What is left of a connection that was closed has to leave in time, too.
        if self._write_timer is not None and not self._socket.is_closing():
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    async def receive(self) -> Any:
        """The ASGI interface, as `send`."""
        message = await self.queue.get()
        self._parse()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()
        return message

    async def send(self, message: Any) -> None:
        """Waits while the client does not read, but not to close: that goes behind what waits already."""
        kind = message["type"]
        if kind == "websocket.close":
            self.writable.set()
        await super().send(message)
        if kind == "websocket.close":
            # The client's own close may be in it.
            self._parse()
        elif kind == "websocket.http.response.body" and not message.get("more_body"):
            # Else uvicorn says that the application has not answered.
            self.handshake_complete = True

    def shutdown(self) -> None:
        """What uvicorn calls when it begins to end."""
        if self.close_sent:
            super().shutdown()
        else:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": int(CloseCode.SERVICE_RESTART)})

    def handle_cont(self, event: Frame) -> None:
        """A further fragment, as uvicorn's code calls it; the others that follow are its own, too."""
        if len(self.frames) >= MOST_FRAGMENTS:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"more than {MOST_FRAGMENTS} fragments")
            self.handle_parser_exception()
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """An answer waits for nobody who does not read."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def send_receive_event_to_app(self) -> None:
        """A message is complete."""
        self._heard = True
        super().send_receive_event_to_app()

    def send_keepalive_ping(self) -> None:
        """Asks whether the client is still there."""
        self._heard = False
        super().send_keepalive_ping()

    def keepalive_timeout(self) -> None:
        """It has not answered, or its answer lies behind what it sends."""
        if self._heard or self.read_paused:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            super().keepalive_timeout()

    def handle_parser_exception(self) -> None:
        """The client has broken the protocol or a bound; `conn` knows what it is to be told."""
        if self._dropped is not None:
            return
        self._dropped = 0
        self._unparsed = NOTHING
        self._linger_timer = self.loop.call_later(self.bounds.linger_s, self._socket_ends)
        super().handle_parser_exception()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def _parse(self) -> None:
        # After our own close nothing but the client's is of interest, and what is not is dropped.
        while self._unparsed and (self.close_sent or self.queue.empty()) and not self._socket.is_closing():
            piece, self._unparsed = self._unparsed[:PIECE_BYTES], self._unparsed[PIECE_BYTES:]
            super().data_received(cast(bytes, piece))
        if not self._unparsed:
            # An empty part of what was read would keep all of it.
            self._unparsed = NOTHING
        elif not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def _refuse(self) -> None:
        """What websockets does not read as a request, after which uvicorn would wait for ever."""
        answer = b"".join(self.conn.data_to_send())
        if not answer:  # else it says by itself what is too long
            detail = "an upgrade has no body, and only printable characters in its head"
            answer = self.conn.reject(HTTPStatus.BAD_REQUEST, detail).serialize()
        self._socket.write(answer)
        self.close_sent = self.handshake_complete = True
        self.transport.close()

    def _drop(self, count: int) -> None:
        self._dropped = (self._dropped or 0) + count
        if self._dropped > self.bounds.linger_bytes:
            self._socket_ends()

    def _end(self) -> None:
        """What uvicorn's code does to close."""
        if self._dropped is None:
            self._socket_ends()
        elif self._socket.can_write_eof() and not self._socket.is_closing():
            self._socket.write_eof()

    def _socket_ends(self) -> None:
        self._socket.close()
        if self._socket.get_write_buffer_size():
            self._limit_writing()

    def _limit_writing(self) -> None:
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.bounds.write_s, self._abort)

    def _abort(self) -> None:
        logger.info("a client that does not read what it is told is cut off")
        self._socket.abort()


class _Conversation(ServerProtocol):
    """Without extensions, and with problem documents for what is refused before the application is asked."""

    def reject(self, status: Any, text: str) -> Response:
        """The interface of websockets."""
        status = HTTPStatus(status)
        title = status.phrase
        problem = Problem(status, title.lower().replace(" ", "-"), title, text.strip())
        response = problem.response(request_id := f"{random.getrandbits(128):032x}", "*")
        headers = [(name.decode(), value.decode()) for name, value in response.raw_headers]
        headers += [("x-request-id", request_id), ("connection", "close")]
        return Response(status.value, title, Headers(headers), bytes(response.body))
