"""A real service with both of its doors in a thread of its own, clients of it, and a server that has a script."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import uvicorn

from service.app import Service, build_application
from service.app.certificate import Certificate
from service.app.grpc import build_grpc
from service.app.protocol import BoundedProtocol
from service.app.server import Server
from service.client import Client
from service.engine.embedded import EmbeddedEngine
from service.settings import Settings

READY_S = 60


class Serving:
    """A service that serves HTTP and gRPC on free ports, from when it is made until `stop`."""

    def __init__(self, settings: Settings, engine: EmbeddedEngine | None = None) -> None:
        self._settings = settings
        self._engine = engine
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="serving")
        self._thread.start()
        assert self._ready.wait(READY_S), "it did not start"
        scheme = "https" if settings.tls_certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self.grpc = f"127.0.0.1:{self._grpc.port}"

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        settings = self._settings
        self.service = Service(settings, engine=self._engine)
        files = (settings.tls_certificate, settings.tls_key)
        certificate = Certificate(*files, metrics=self.service.metrics) if all(files) else None
        config = uvicorn.Config(
            build_application(self.service), port=0, http=BoundedProtocol, lifespan="off", log_config=None,
            ssl_certfile=files[0], ssl_keyfile=files[1],
        )  # fmt: skip
        self._grpc = build_grpc(self.service, certificate)
        self._server = _Announcing(config, self.service, grpc=self._grpc, certificate=certificate)
        self._server.ready = self._ready
        await self._server.serve()

    def call(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Has the service's loop do something."""
        self._loop.call_soon_threadsafe(work, *arguments)

    def end(self) -> None:
        """Begins to end, as at SIGTERM."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Ends, and waits for it."""
        self.end()
        self._thread.join(READY_S)
        assert not self._thread.is_alive()


class _Announcing(Server):
    ready: threading.Event

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@pytest.fixture(scope="module")
def make_serving(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Serving]]:
    """Starts a service: (engine=, settings)."""
    started: list[Serving] = []

    def make(engine: EmbeddedEngine | None = None, **settings: object) -> Serving:
        started.append(Serving(make_settings(**{"grpc_port": 0} | settings), engine))
        return started[-1]

    yield make
    for serving in started:
        serving.stop()


@pytest.fixture(scope="module")
def serving(make_serving: Callable[..., Serving]) -> Serving:
    """One for all tests of a file."""
    return make_serving()


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with Client(serving.url, grpc=serving.grpc) as client:
        yield client


@pytest.fixture(scope="session")
def comes_true() -> Callable[[Callable[[], bool]], bool]:
    """Whether a condition does within seconds: (condition)."""

    def comes_true(holds: Callable[[], bool]) -> bool:
        for _ in range(5000):
            if holds():
                return True
            time.sleep(0.002)
        return False

    return comes_true


@pytest.fixture(scope="session")
def readers() -> Callable[[], list[threading.Thread]]:
    """The threads that read frames now."""
    return lambda: [thread for thread in threading.enumerate() if thread.name == "yolov7-frames"]


class Scripted:
    """An HTTP server that gives its answers in turn: a status, headers and a body each; None hangs up instead."""

    def __init__(self, answers: Sequence[tuple[int, dict[str, str], bytes] | None]) -> None:
        self.asked: list[dict[str, str]] = []
        script, asked = iter(answers), self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                asked.append({name.lower(): value for name, value in self.headers.items()})
                answer = next(script)
                self.close_connection = True
                if answer is not None:
                    status, headers, body = answer
                    self.send_response(status)
                    for name, value in ({"Content-Length": str(len(body)), "Connection": "close"} | headers).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """Starts a server with a script: (answers in turn)."""
    started: list[Scripted] = []

    def start(*answers: tuple[int, dict[str, str], bytes] | None) -> Scripted:
        started.append(Scripted(answers))
        return started[-1]

    yield start
    for server in started:
        server.stop()
