"""What a client cannot make a WebSocket hold or wait for: a real server on a real socket, under both event loops.

The application takes messages when it is told to, and answers nothing.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.app.protocol import BoundedProtocol
from service.app.websocket import MOST_FRAGMENTS, PIECE_BYTES, BoundedWebSocket
from service.app.wire import Bounds

pytestmark = pytest.mark.anyio

LONG = Bounds(head_s=600, write_s=600, linger_s=600)
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Application:
    def __init__(self) -> None:
        self.may_take = asyncio.Event()
        self.taken: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.may_take.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await self.may_take.wait()
            self.taken.append(await receive())
            if self.taken[-1]["type"] == "websocket.disconnect":
                return


class Serving:
    def __init__(self, server: uvicorn.Server, application: Application, port: int) -> None:
        self.server = server
        self.application = application
        self.port = port
        self.clients: list[Client] = []

    @property
    def connections(self) -> set[Any]:
        return self.server.server_state.connections

    async def open(self) -> "Client":
        connection = socket.socket()
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        self.clients.append(Client(connection))
        return self.clients[-1]

    async def upgrade(self) -> tuple["Client", Any]:
        client = await self.open()
        await client.send(UPGRADE)
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        (connection,) = self.connections
        return client, connection


class Client:
    """A bare socket, from which nothing is read unless it is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.ahead = bytearray()

    async def flood(self, data: bytes) -> None:
        """Until it is cut off."""
        with suppress(ConnectionError):
            while True:
                await self.send(data)

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(30):
            await self.loop.sock_sendall(self.connection, data)

    async def head(self) -> bytes:
        while b"\r\n\r\n" not in self.ahead:
            await self._more()
        head, _, self.ahead = self.ahead.partition(b"\r\n\r\n")
        return bytes(head)

    async def problem(self) -> tuple[int, str, str]:
        """Status, name and detail."""
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(self.ahead) < length:
            await self._more()
        document = json.loads(self.ahead[:length])
        return int(head[9:12]), document["type"].rpartition(":")[2], document["detail"]

    async def close_code(self) -> int:
        while len(self.ahead) < 4:
            await self._more()
        assert self.ahead[0] == 0x80 | CLOSE
        return struct.unpack("!H", self.ahead[2:4])[0]

    async def ends(self) -> bool:
        async with asyncio.timeout(30):
            try:
                while await self.loop.sock_recv(self.connection, 1 << 16):
                    pass
            except ConnectionResetError:
                pass
        return True

    async def _more(self) -> None:
        async with asyncio.timeout(30):
            data = await self.loop.sock_recv(self.connection, 1 << 16)
        assert data, "the connection ended first"
        self.ahead += data


def frame(kind: int, data: bytes = b"", *, last: bool = True) -> bytes:
    """Masked with zeros, so the data is as it is."""
    head = bytes([kind | (0x80 if last else 0)])
    if len(data) < 126:
        return head + bytes([0x80 | len(data)]) + bytes(4) + data
    return head + b"\xff" + struct.pack("!Q", len(data)) + bytes(4) + data


@asynccontextmanager
async def serving(bounds: Bounds = LONG, **options: Any) -> AsyncIterator[Serving]:
    class Http(BoundedProtocol):
        pass

    class WebSocket(BoundedWebSocket):
        pass

    Http.bounds = WebSocket.bounds = bounds
    application = Application()
    given = {"lifespan": "off", "log_config": None, "access_log": False, "ws_max_size": 1_000_000} | options
    server = uvicorn.Server(uvicorn.Config(application, http=Http, ws=WebSocket, **given))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = asyncio.create_task(server._serve([listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        serving = Serving(server, application, listening.getsockname()[1])
        try:
            yield serving
        finally:
            for client in serving.clients:
                client.connection.close()
            application.may_take.set()
            server.should_exit = server.force_exit = True
            for connection in list(server.server_state.connections):
                connection._socket.abort()
            await running


async def test_messages_come_whole_and_in_order_however_they_were_cut():
    async with serving() as server:
        client, _ = await server.upgrade()
        server.application.may_take.set()
        large = os.urandom(300_000)
        sent = frame(TEXT, b"a") + frame(BINARY, large) + frame(BINARY, b"x", last=False) + frame(0, b"y")
        sent += frame(CLOSE, struct.pack("!H", 4001))
        for cut in range(0, len(sent), 7001):
            await client.send(sent[cut : cut + 7001])
        assert await client.close_code() == 4001
        assert [message.get("text", message.get("bytes")) for message in server.application.taken[:3]] == [
            "a", large, b"xy"
        ]  # fmt: skip


async def test_a_flood_of_small_messages_stays_in_the_socket(until: Until):
    async with serving() as server:
        client, connection = await server.upgrade()
        flooding = asyncio.create_task(client.send(frame(BINARY) * 200_000))
        await until(lambda: bool(connection._unparsed))
        assert connection.read_paused
        assert connection.queue.qsize() <= PIECE_BYTES // 6 + 1
        server.application.may_take.set()
        await flooding
        await client.send(frame(CLOSE, struct.pack("!H", 1000)))
        assert await client.close_code() == 1000
        assert len(server.application.taken) >= 200_000


async def test_a_flood_of_pings_is_not_answered_to_who_does_not_read(until: Until):
    async with serving(replace(LONG, write_s=0.3)) as server:
        client, connection = await server.upgrade()
        held = 0

        def gone() -> bool:
            nonlocal held
            held = max(held, connection._socket.get_write_buffer_size())
            return not server.connections

        flooding = asyncio.create_task(client.flood(frame(PING, bytes(125)) * 1000))
        await until(gone)
        await flooding
        assert 0 < held < 1_000_000


@pytest.mark.parametrize("fragment", [b"", b"x"])
async def test_a_message_has_only_so_many_fragments(fragment: bytes):
    async with serving() as server:
        client, _ = await server.upgrade()
        await client.send(frame(BINARY, last=False) + frame(0, fragment, last=False) * (MOST_FRAGMENTS + 10))
        assert await client.close_code() == 1009


async def test_a_message_that_is_too_large_is_1009_even_to_who_sends_on(until: Until):
    async with serving() as server:
        client, _ = await server.upgrade()
        await client.send(frame(BINARY, bytes(20_000_000)))
        assert await client.close_code() == 1009
        client.connection.close()
        await until(lambda: not server.connections)


async def test_what_comes_after_a_violation_is_not_dropped_for_ever(until: Until):
    async with serving(replace(LONG, linger_bytes=100_000)) as server:
        client, _ = await server.upgrade()
        await client.flood(b"\xff" * 10_000)
        await until(lambda: not server.connections)


@pytest.mark.parametrize(
    ("old", "new", "answer", "detail"),
    [
        (b"Version: 13", b"Version: 8", (400, "bad-request"), "Sec-WebSocket-Version"),
        (b"AAAA==", b"==", (400, "bad-request"), "Sec-WebSocket-Key"),
        (b"GET", b"PUT", (405, "method-not-allowed"), "PUT"),
        (b"Host: x", b"Host: x\r\nContent-Length: 1", (400, "bad-request"), "has no body"),
        (b"Host: x", b"Cookie: " + b"x" * 9000, (431, "request-header-fields-too-large"), "8192 bytes"),
        (b"Host: x", b"a: b\r\n" * 200 + b"Host: x", (431, "request-header-fields-too-large"), "128 headers"),
    ],
)
async def test_a_head_that_is_no_upgrade_is_a_problem(
    old: bytes, new: bytes, answer: tuple[int, str], detail: str, until: Until
):
    async with serving() as server:
        client = await server.open()
        await client.send(UPGRADE.replace(old, new))
        *told, said = await client.problem()
        assert tuple(told) == answer
        assert detail in said
        assert await client.ends()
        await until(lambda: not server.connections)


async def test_an_upgrade_before_the_answer_to_a_request_is_cut_off():
    async with serving() as server:
        client = await server.open()
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + UPGRADE)
        assert await client.ends()


async def test_an_upgrade_after_an_answer_goes_on_without_the_limits_of_a_head(until: Until):
    async with serving() as server:
        server.application.may_take.set()
        client = await server.open()
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        (http,) = server.connections
        await client.send(UPGRADE[:20])
        await until(lambda: http._head_timer is not None)
        await client.send(UPGRADE[20:])
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert http._head_timer.cancelled()
        (connection,) = server.connections
        assert isinstance(connection, BoundedWebSocket)


async def test_a_websocket_counts_as_a_connection(until: Until):
    async with serving(replace(LONG, connections=1)) as server:
        await server.upgrade()
        beyond = await server.open()
        await beyond.send(UPGRADE)
        assert (await beyond.problem())[:2] == (503, "overloaded")


async def test_who_answers_no_ping_is_gone_unless_it_is_not_read_from(until: Until):
    async with serving(ws_ping_interval=0.05, ws_ping_timeout=0.05) as server:
        client, connection = await server.upgrade()
        await client.send(frame(BINARY))
        await until(lambda: connection.read_paused)
        pings: set[float] = set()
        await until(lambda: pings.add(connection.ping_sent_at) or len(pings) > 4)
        assert server.connections
        server.application.may_take.set()
        assert await client.ends()
