"""A second signal while streams that cannot end are waited for: a real server in this process, signalled by hand."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from service.app import Service, build_application
from service.app.protocol import BoundedProtocol
from service.app.server import Server
from service.app.websocket import BoundedWebSocket
from service.settings import Settings

pytestmark = pytest.mark.anyio


class Serving:
    """`address` is where it serves."""

    def __init__(self, service: Service) -> None:
        self.service = service
        config = uvicorn.Config(
            build_application(service), http=BoundedProtocol, ws=BoundedWebSocket, lifespan="off", log_config=None
        )
        self.server = Server(config, service)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.running = asyncio.create_task(self.server.serve([self.listening]))

    def signal(self) -> None:
        self.server.handle_exit(signal.SIGTERM, None)


@pytest.fixture
async def serving(
    make_settings: Callable[..., Settings], engine_with_switch: Any, until: Any
) -> AsyncIterator[Serving]:
    serving = Serving(Service(make_settings(drain_timeout_s=600), engine=engine_with_switch))
    await until(lambda: serving.server.started)
    yield serving
    engine_with_switch.gate.set()
    await serving.running


async def test_it_ends_a_websocket_stream_at_once(serving: Serving, engine_with_switch: Any, png: bytes, until: Any):
    streams = serving.service.streams
    engine_with_switch.gate.clear()
    async with asyncio.timeout(30), connect(f"ws://{serving.address}/v1/stream", proxy=None) as client:
        await client.send('{"type": "open", "delivery": "every"}')
        await client.recv()
        await client.send(png)
        await until(lambda: any(len(stream._order) for stream in streams._open))
        serving.signal()
        assert json.loads(await client.recv())["type"] == "closing"
        serving.signal()
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1001
    await until(lambda: len(streams) == 0)
