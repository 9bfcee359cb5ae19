"""Real servers with real WebSockets, and clients that speak the protocol of docs/websocket.md by hand."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from service.app import Service, build_application
from service.app.protocol import BoundedProtocol
from service.app.websocket import BoundedWebSocket
from service.app.wire import Bounds

Document = dict[str, Any]


class Caller:
    """A client. What it waits for comes within half a minute, or the test fails."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, message: bytes | str | Document) -> None:
        async with asyncio.timeout(30):
            await self.connection.send(json.dumps(message) if isinstance(message, dict) else message)

    async def hear(self) -> Document:
        async with asyncio.timeout(30):
            return json.loads(await self.connection.recv())

    async def open(self, **fields: Any) -> Document:
        await self.say({"type": "open", **fields})
        return await self.hear()

    async def end(self) -> tuple[list[Document], int]:
        """Says that no more comes: what is still answered, and the code of the close."""
        await self.say({"type": "end"})
        return await self.rest()

    async def rest(self) -> tuple[list[Document], int]:
        """All that comes until the close, and its code."""
        documents = []
        with suppress(ConnectionClosed):
            while True:
                documents.append(await self.hear())
        return documents, self.connection.protocol.close_rcvd.code if self.connection.protocol.close_rcvd else 1006


class Endpoint:
    """A server of a service; `connect` is as of websockets."""

    def __init__(self, service: Service, bounds: Bounds) -> None:
        class Http(BoundedProtocol):
            pass

        class WebSocket(BoundedWebSocket):
            pass

        Http.bounds = WebSocket.bounds = bounds
        config = uvicorn.Config(
            build_application(service), http=Http, ws=WebSocket, ws_max_size=service.settings.max_body_bytes,
            lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=20,
        )  # fmt: skip
        self.service = service
        self.server = uvicorn.Server(config)
        self.callers: list[Caller] = []
        self.port = 0

    async def start(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        # Its signal handlers would be those of the tests.
        self.running = asyncio.create_task(self.server._serve([listening]))
        while not self.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)

    async def connect(self, query: str = "", path: str = "/v1/stream", **options: Any) -> Caller:
        given = {"max_size": None, "compression": None, "proxy": None} | options
        self.callers.append(Caller(await connect(f"ws://127.0.0.1:{self.port}{path}{query}", **given)))
        return self.callers[-1]

    async def stop(self) -> None:
        for caller in self.callers:
            caller.connection.transport.abort()
        self.server.should_exit = self.server.force_exit = True
        await self.running


Serve = Callable[..., Awaitable[Endpoint]]


@pytest.fixture(scope="module")
async def server(service: Service) -> AsyncIterator[Endpoint]:
    """One for all tests of a module, of the service that they share."""
    endpoint = Endpoint(service, Bounds())
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


@pytest.fixture
async def serve(make_service: Callable[..., Awaitable[Service]]) -> AsyncIterator[Serve]:
    """Starts a server: (engine=, bounds=, settings); it is gone at the end of the test."""
    endpoints: list[Endpoint] = []

    async def serve(engine: object = None, bounds: Bounds | None = None, **settings: object) -> Endpoint:
        endpoints.append(Endpoint(await make_service(engine, **settings), bounds or Bounds()))
        await endpoints[-1].start()
        return endpoints[-1]

    yield serve
    for endpoint in endpoints:
        await endpoint.stop()
