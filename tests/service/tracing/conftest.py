"""A real collector in this process, and the service that sends it its spans."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.app import Service, build_application


class Collector:
    """OTLP over HTTP on a free port. It answers `status`, and keeps what it took with 200."""

    def __init__(self) -> None:
        self.status = 200
        self.paths: list[str] = []
        self.resources: list[dict[str, Any]] = []
        self._spans: list[Span] = []
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(collector.status)
                self.end_headers()
                if collector.status == 200:
                    collector.take(self.path, ExportTraceServiceRequest.FromString(body))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def take(self, path: str, request: ExportTraceServiceRequest) -> None:
        with self._changed:
            self.paths.append(path)
            for part in request.resource_spans:
                self.resources.append(attributes(part.resource))
                self._spans.extend(span for scope in part.scope_spans for span in scope.spans)
            self._changed.notify_all()

    async def requests(self, count: int) -> list["Request"]:
        """Waits until so many requests have been told of, in order of their start."""
        await asyncio.to_thread(self._await, count)
        servers = sorted(self._servers(), key=lambda span: span.start_time_unix_nano)
        return [Request(server, [s for s in self._spans if s.parent_span_id == server.span_id]) for server in servers]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def everything(self) -> str:
        return repr(self._spans) + repr(self.resources)

    def _servers(self) -> list[Span]:
        return [span for span in self._spans if span.kind == Span.SPAN_KIND_SERVER]

    def _await(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._servers()) >= count, 20), self.everything()


class Request:
    """One request as the collector knows it."""

    def __init__(self, span: Span, children: list[Span]) -> None:
        self.span = span
        self.children = sorted(children, key=lambda child: child.start_time_unix_nano)
        self.stages = {child.name: child for child in self.children}
        self.told = attributes(span)


def attributes(holder: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in holder.attributes}


@pytest.fixture
def told() -> Callable[[Any], dict[str, Any]]:
    """The attributes of a span."""
    return attributes


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL at which connections are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[Service], httpx.AsyncClient]]:
    """A client of a service, in this process."""
    clients: list[httpx.AsyncClient] = []

    def connect(service: Service) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(build_application(service))
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://test"))
        return clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


@pytest.fixture
async def traced(
    collector: Collector,
    make_service: Callable[..., Awaitable[Service]],
    connect: Callable[[Service], httpx.AsyncClient],
) -> httpx.AsyncClient:
    """A client of a service whose spans the collector gets."""
    return connect(await make_service(trace_endpoint=collector.url))
