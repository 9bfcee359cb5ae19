"""GET /v1/stream: a WebSocket for frames. From the upgrade to the count and the log line of the connection.

A plain ASGI endpoint for every WebSocket there is. What is refused before the upgrade is answered as over HTTP, by a
problem document; what goes wrong after it is said in a message (service.api.stream_conversation).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access import Client
from service.api.door import Door
from service.api.exchange import UNMATCHED, Exchange
from service.api.problems import Problem, describe
from service.api.stream_conversation import OPENING_S, Conversation
from service.api.stream_origin import Origins
from service.api.stream_socket import StreamSocket
from service.errors import Draining, Forbidden, Overloaded, ServiceError
from service.live import Streams
from service.metrics import Metrics
from service.tracing import begin_request, choose_request_id

logger = logging.getLogger(__name__)

STREAM_PATH = "/v1/stream"
SUBPROTOCOL = "yolov7.v1"
# Connections that have not said yet what they want: each may have sent as much as a stream.
MOST_OPENING = 64
COUNTED = (1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1013)


class StreamMiddleware:
    """Answers every WebSocket, before FastAPI's machinery is entered."""

    def __init__(self, app: ASGIApp, route: "StreamRoute") -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        await (self._route if scope["type"] == "websocket" else self._app)(scope, receive, send)


class StreamRoute:
    """The endpoint; an instance is called for each connection. `opening_s`: time for a client's first message."""

    def __init__(
        self,
        streams: Streams,
        door: Door,
        *,
        origins: Origins,
        metrics: Metrics,
        draining: Callable[[], bool],
        opening_s: float = OPENING_S,
    ) -> None:
        self._streams = streams
        self._door = door
        self._origins = origins
        self._metrics = metrics
        self._draining = draining
        self._opening_s = opening_s
        self._opening = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        connection = HTTPConnection(scope)
        exchange = scope["exchange"] = Exchange(choose_request_id(connection.headers.get("x-request-id", "")))
        begin_request(exchange.request_id)
        await receive()  # that there is a connection
        try:
            await self._answer(connection, receive, send)
        finally:
            self._record(connection, exchange)

    async def refuse(self, request: Request) -> Response:
        """For a plain GET, which upgrades nothing."""
        headers = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
        detail = f"{STREAM_PATH} is a WebSocket; open it as one"
        Exchange.of(request).error = "upgrade-required"
        problem = Problem(426, "upgrade-required", "Upgrade required", detail, headers=headers)
        return problem.response(Exchange.of(request).request_id, STREAM_PATH)

    async def _answer(self, connection: HTTPConnection, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(connection)
        try:
            if connection.scope["path"] != STREAM_PATH:
                problem = Problem(404, "not-found", "Not Found", "there is no WebSocket but that of /v1/stream")
                await self._deny(problem, connection, receive, send)
                return
            exchange.route = STREAM_PATH
            client = self._let_in(connection)
        except ServiceError as error:
            await self._deny(describe(error), connection, receive, send)
            return
        peer = connection.client.host if connection.client else ""
        conversation = Conversation(self._streams, StreamSocket(receive, send), client, peer, self._opening_s)
        exchange.status = await self._converse(conversation, connection)
        exchange.error = conversation.error

    async def _converse(self, conversation: Conversation, connection: HTTPConnection) -> int:
        offered = connection.scope["subprotocols"]
        headers = {"X-Request-ID": Exchange.of(connection).request_id}
        try:
            self._opening += 1
            try:
                await conversation.socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None, headers)
                opening = await conversation.opening()
            finally:
                self._opening -= 1
            return await conversation.end(None, await conversation.go_on(opening))
        except ServiceError as error:
            return await conversation.end(error)
        except asyncio.CancelledError as error:
            # uvicorn cancels what a drain has left over, and would log what is raised again as a failure.
            return await conversation.end(error)
        except Exception as error:  # what nobody expected is our bug
            logger.exception("a stream failed by a bug of ours")
            return await conversation.end(error)

    def _let_in(self, connection: HTTPConnection) -> Client:
        if self._draining():
            raise Draining("the service is shutting down")
        try:
            self._origins.check(connection.headers.getlist("origin"), connection.headers.get("host", ""))
        except Forbidden:
            self._metrics.rejected.labels("origin").inc()
            raise
        client = self._door.stream(connection)
        if self._opening >= MOST_OPENING:
            self._metrics.rejected.labels("streams").inc()
            raise Overloaded(f"{self._opening} connections have not opened their streams yet")
        return client

    async def _deny(self, problem: Problem, connection: HTTPConnection, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(connection)
        exchange.status, exchange.error = problem.status, problem.name
        response = problem.response(exchange.request_id, connection.url.path)
        response.headers["X-Request-ID"] = exchange.request_id
        await response(connection.scope, receive, send)

    def _record(self, connection: HTTPConnection, exchange: Exchange) -> None:
        seconds = time.monotonic() - exchange.started_at
        status = exchange.status or 1006
        # Clients choose codes from 3000 on.
        code = str(status) if status < 1000 or status in COUNTED else "other"
        route = exchange.route or UNMATCHED
        told = exchange.conclude(self._metrics, "websocket", route=route, status=status, code=code)
        # The query is not told: a ticket may be in it.
        line = (quote(connection.url.path), status, seconds, exchange.error or "-")
        logger.info("WebSocket %s %s %.1fs %s", *line, extra=told)
