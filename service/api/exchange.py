"""One HTTP request and its answer, as every route sees them: an id, a clock, the stages, one log line, one count.

An ASGI middleware around the whole application. It knows no route and no model; an exception that nobody else turned
into an answer is our bug, and becomes a 500 that says nothing but the request id. Where requests are traced, another
one around it makes a span of what the exchange says in the end.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import Problem, describe
from service.errors import Draining
from service.metrics import Metrics
from service.tracing import Trace, Tracer, begin_request, choose_request_id
from service.tracing.trace import Value

logger = logging.getLogger(__name__)

UNMATCHED = "unmatched"
NOBODY_WAITS = 499
# They come every few seconds for ever, and their spans would bury the others.
UNTRACED = ("/livez", "/readyz", "/metrics")
TRACE_CONTEXT = (b"traceparent", b"tracestate")
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")


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
        self._metrics.requests.labels("http", route, str(status)).inc()
        self._metrics.request_duration.labels("http", route).observe(seconds)
        if exchange.error is not None:
            self._metrics.errors.labels(exchange.error).inc()
        # Probes and scrapes come every few seconds for ever; only what goes wrong with them is news.
        level = logging.INFO if route.startswith("/v1") or status != 200 else logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        # Quoted again, because a path may hold a line break.
        path = quote(scope["path"])
        told = {
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            "error": exchange.error,
            "key": exchange.client,
        }
        line = "%s %s %s %.1fms %s"
        told_line = (scope["method"], path, status, seconds * 1000, exchange.error or "-")
        logger.log(level, line, *told_line, extra=told)


class TraceMiddleware:
    """Gives each HTTP request its trace, named as OpenTelemetry's conventions for HTTP servers say.

    It tells neither the query nor a header: keys and pictures may be in them.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http" or scope["path"] in UNTRACED:
            await self._app(scope, receive, send)
            return
        given = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in TRACE_CONTEXT}
        name = scope["method"] if scope["method"] in METHODS else "HTTP"
        with self._tracer.request(name, given, _asked(scope)) as trace:
            try:
                await self._app(scope, receive, send)
            finally:
                if trace is not None:
                    _conclude(trace, scope)


def _asked(scope: Scope) -> dict[str, Value]:
    host, port = scope["server"] or ("", None)
    attributes: dict[str, Value] = {
        "http.request.method": scope["method"] if scope["method"] in METHODS else "_OTHER",
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "server.address": host,
    }
    return attributes if port is None else {**attributes, "server.port": port}


def _conclude(trace: Trace, scope: Scope) -> None:
    exchange: Exchange = scope["exchange"]
    status = exchange.status or NOBODY_WAITS
    trace.note({"request_id": exchange.request_id})
    trace.attributes["http.response.status_code"] = status
    route = exchange.route or getattr(scope.get("route"), "path", None)
    if route is not None:
        trace.attributes["http.route"] = route
        trace.name = f"{trace.name} {route}"
    # By the conventions a server's span fails only where the server does, not where its caller does.
    trace.error, trace.failed = exchange.error, status >= 500
    seconds = exchange.stage_seconds
    if "receive" in seconds:
        trace.stage("receive", exchange.started_at, exchange.started_at + seconds["receive"])
    if "serialise" in seconds:
        started_at = max(stage.ended_at for stage in trace.stages)
        trace.stage("serialise", started_at, started_at + seconds["serialise"])
