"""One HTTP request as a span, named as OpenTelemetry's conventions for HTTP servers say.

It says what the exchange says in the end, and neither the query nor a header: keys and pictures may be in them.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.exchange import NOBODY_WAITS, Exchange
from service.tracing import Trace, Tracer
from service.tracing.trace import Value

# They come every few seconds for ever, and their spans would bury the others.
UNTRACED = ("/livez", "/readyz", "/metrics")
TRACE_CONTEXT = (b"traceparent", b"tracestate")
METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")


class TraceMiddleware:
    """Around the exchange: gives each HTTP request its trace."""

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
