"""One HTTP request and its answer, as every route sees them: an id, a clock, the stages, one log line, one count.

An ASGI middleware around the whole application. It knows no route and no model; an exception that nobody else turned
into an answer is our bug, and becomes a 500 that says nothing but the request id. Where requests are traced, another
one around it makes a span of what the exchange says in the end (service.api.trace).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import Problem, describe
from service.errors import Draining
from service.metrics import Metrics
from service.tracing import begin_request, choose_request_id

logger = logging.getLogger(__name__)

UNMATCHED = "unmatched"
NOBODY_WAITS = 499


@dataclass(slots=True)
class Exchange:
    """`stage_seconds` is what Server-Timing tells, in the order of the work; `headers` are the answer's own.

    `route` is the template that was matched, `client` the name of the key.
    """

    request_id: str
    started_at: float = field(default_factory=time.monotonic)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    status: int | None = None
    error: str | None = None
    route: str | None = None
    client: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: HTTPConnection) -> "Exchange":
        """The exchange that a request belongs to."""
        exchange = request.scope["exchange"]
        assert isinstance(exchange, cls)
        return exchange

    def server_timing(self) -> str:
        """The Server-Timing header: each stage, and the total until now."""
        stages = {**self.stage_seconds, "total": time.monotonic() - self.started_at}
        return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in stages.items())

    def conclude(
        self, metrics: Metrics, transport: Literal["http", "websocket"], *, route: str, status: int, code: str
    ) -> dict[str, object]:
        """Counts how it ended, under `code`; what its log line tells a program."""
        metrics.requests.labels(transport, route, code).inc()
        if self.error is not None:
            metrics.errors.labels(self.error).inc()
        milliseconds = round((time.monotonic() - self.started_at) * 1000, 1)
        return {"status": status, "duration_ms": milliseconds, "error": self.error, "key": self.client}


class ExchangeMiddleware:
    """Gives each HTTP request its Exchange, and its answer the headers, the count and the log line.

    While `draining`, each answer is the last one of its connection, so that none is cut off when the door closes.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, draining: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = scope["exchange"] = Exchange(choose_request_id(Headers(scope=scope).get("x-request-id", "")))
        begin_request(exchange.request_id)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                own = {
                    "X-Request-ID": exchange.request_id,
                    "Server-Timing": exchange.server_timing(),
                    **exchange.headers,
                }
                if self._draining() and not any(name == b"connection" for name, _ in message["headers"]):
                    own["Connection"] = "close"
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode("latin-1")) for name, value in own.items()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # uvicorn cancels what is not done when a drain has taken too long; alone it would answer a bare 500.
            if exchange.status is not None:
                raise
            problem = describe(Draining("the service shut down before the answer was ready"))
            exchange.error = problem.name
            await problem.response(exchange.request_id, scope["path"])(scope, receive, send_with_headers)
        except Exception:  # whatever nobody answered is our bug
            logger.exception("a request failed by a bug of ours")
            if exchange.status is not None:
                raise
            exchange.error = "internal"
            problem = Problem(500, "internal", "Internal error", "this is a bug of the service, not of your request")
            await problem.response(exchange.request_id, scope["path"])(scope, receive, send_with_headers)
        finally:
            self._record(scope, exchange)

    def _record(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.monotonic() - exchange.started_at
        # Without a status no answer could be sent.
        status = exchange.status or NOBODY_WAITS
        route = str(exchange.route or getattr(scope.get("route"), "path", UNMATCHED))
        self._metrics.request_duration.labels("http", route).observe(seconds)
        told = exchange.conclude(self._metrics, "http", route=route, status=status, code=str(status))
        # Probes and scrapes come every few seconds for ever; only what goes wrong with them is news.
        level = logging.INFO if route.startswith("/v1") or status != 200 else logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        # Quoted again, because a path may hold a line break.
        line = (scope["method"], quote(scope["path"]), status, seconds * 1000, exchange.error or "-")
        logger.log(level, "%s %s %s %.1fms %s", *line, extra=told)
