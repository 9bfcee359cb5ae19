"""What a client cannot make the server hold or wait for: a real server on a real socket, under both event loops.

The application answers at once, whatever the body: "/large" with more than the sockets hold, "/wait" when told.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.app.protocol import BoundedProtocol
from service.app.wire import Bounds

pytestmark = pytest.mark.anyio

LARGE = 32 * 1024 * 1024
# For what must not end by time in a test.
LONG = Bounds(head_s=600, write_s=600, linger_s=600)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Application:
    """`bodies`: what came of those that "/read" waited for."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/read":
            await self.read(receive)
        if scope["path"] == "/wait":
            await self.may_answer.wait()
        body = bytes(LARGE if scope["path"] == "/large" else 5)
        length = b"%d" % len(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    async def read(self, receive: Receive) -> None:
        self.bodies.append(b"")
        while (message := await receive())["type"] == "http.request":
            self.bodies[-1] += message["body"]
            if not message["more_body"]:
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

    async def open(self, *, receives: int | None = None) -> "Client":
        connection = socket.socket()
        if receives is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        self.clients.append(Client(connection))
        return self.clients[-1]


class Client:
    """A bare socket, from which nothing is read unless it is asked for. `ahead`: what came behind an answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.loop = asyncio.get_running_loop()
        self.ahead = bytearray()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(30):
            await self.loop.sock_sendall(self.connection, data)

    async def drip(self, data: bytes) -> None:
        """For ever, or until the server has had enough."""
        with suppress(ConnectionError):
            while True:
                await self.loop.sock_sendall(self.connection, data)
                await asyncio.sleep(0.005)

    async def answer(self) -> tuple[int, bytes]:
        """One answer with Content-Length: status, body."""
        async with asyncio.timeout(30):
            while b"\r\n\r\n" not in self.ahead:
                self.ahead += await self.receive()
            head, _, self.ahead = self.ahead.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(self.ahead) < length:
                self.ahead += await self.receive()
        body, self.ahead = self.ahead[:length], self.ahead[length:]
        return int(head[9:12]), bytes(body)

    async def receive(self) -> bytes:
        data = await self.loop.sock_recv(self.connection, 1 << 16)
        assert data, "the connection ended first"
        return data

    async def at_end(self) -> bool:
        """Whether nothing more comes."""
        async with asyncio.timeout(30):
            try:
                return not self.ahead and await self.loop.sock_recv(self.connection, 1) == b""
            except ConnectionResetError:
                return True

    def close(self) -> None:
        self.connection.close()


@asynccontextmanager
async def serving(bounds: Bounds) -> AsyncIterator[Serving]:
    class Protocol(BoundedProtocol):
        pass

    Protocol.bounds = bounds
    application = Application()
    config = uvicorn.Config(application, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Its signal handlers would be those of the tests.
        running = asyncio.create_task(server._serve([listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        serving = Serving(server, application, listening.getsockname()[1])
        try:
            yield serving
        finally:
            for client in serving.clients:
                client.close()
            server.should_exit = server.force_exit = True
            for connection in list(server.server_state.connections):
                connection._socket.abort()
            await running


def post(path: str, length: int, *extra: str) -> bytes:
    return "\r\n".join((f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *extra, "", "")).encode()


def problem(answer: tuple[int, bytes]) -> tuple[int, str]:
    document = json.loads(answer[1])
    assert document["status"] == answer[0]
    return answer[0], document["type"].rpartition(":")[2]


async def test_requests_follow_one_another_on_a_connection():
    async with serving(LONG) as server:
        client = await server.open()
        for _ in range(3):
            await client.send(GET)
            assert await client.answer() == (200, bytes(5))
        await client.send(GET * 2)
        assert [await client.answer() for _ in range(2)] == [(200, bytes(5))] * 2


@pytest.mark.parametrize("spelling", ["many", "one", "target", "unending"])
async def test_a_head_beyond_the_limit_is_431_and_the_end(spelling: str):
    filler = b"x" * (1 << 17)
    heads = {
        "many": GET[:-2] + b"name: value\r\n" * 10_000 + b"\r\n",
        "one": GET[:-2] + b"name: " + filler + b"\r\n\r\n",
        "target": GET.replace(b"/ ", b"/" + filler + b" "),
        "unending": GET[:-2] + b"name: " + filler * 8,
    }
    async with serving(LONG) as server:
        client = await server.open()
        await client.send(heads[spelling])
        assert problem(await client.answer()) == (431, "head-too-large")
        assert await client.at_end()


async def test_a_head_beyond_the_limit_is_431_even_where_it_comes_at_once(until: Until):
    async with serving(LONG) as server:
        client = await server.open()
        await until(lambda: bool(server.connections))
        (connection,) = server.connections
        connection.data_received(GET[:-2] + b"name: value\r\n" * 6_000 + b"\r\n")
        assert problem(await client.answer()) == (431, "head-too-large")


async def test_a_head_within_the_limit_may_come_in_pieces_and_behind_a_large_body():
    head = GET[:-2] + b"name: " + b"x" * 60_000 + b"\r\n\r\n"
    async with serving(LONG) as server:
        client = await server.open()
        await client.send(post("/read", 1_000_000) + bytes(1_000_000) + head[:30_000])
        assert (await client.answer())[0] == 200
        await client.send(head[30_000:])
        assert (await client.answer())[0] == 200
        assert server.application.bodies == [bytes(1_000_000)]


@pytest.mark.parametrize("more", [b"name: value\r\n", b"x"])
async def test_trailers_are_dropped_and_do_not_come_without_end(more: bytes):
    head = post("/read", 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with serving(LONG) as server:
        client = await server.open()
        await client.send(head + b"1\r\nx\r\n0\r\nname: value\r\n\r\n")
        assert (await client.answer())[0] == 200
        await client.send(head + b"1\r\nx\r\n0\r\n" + more * (400_000 // len(more)))
        assert problem(await client.answer()) == (431, "head-too-large")


async def test_a_head_that_drips_is_cut_off():
    async with serving(replace(LONG, head_s=0.1)) as server:
        client = await server.open()
        await client.send(GET)
        assert (await client.answer())[0] == 200
        await client.send(GET[:-2])
        dripping = asyncio.create_task(client.drip(b"a: b\r\n"))
        assert problem(await client.answer()) == (408, "head-too-slow")
        assert await client.at_end()
        dripping.cancel()


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_who_sends_no_head_at_all_is_cut_off(sent: bytes, until: Until):
    async with serving(replace(LONG, head_s=0.1, linger_s=0.1)) as server:
        client = await server.open()
        dripping = asyncio.create_task(client.drip(sent or b"\r\n")) if sent else None
        await until(lambda: bool(server.connections))
        await until(lambda: not server.connections)
        if dripping is not None:
            await dripping


async def test_a_body_that_drips_on_after_its_answer_is_cut_off(until: Until):
    async with serving(replace(LONG, head_s=0.1, linger_s=0.1)) as server:
        client = await server.open()
        await client.send(post("/", 1_000_000))
        assert (await client.answer())[0] == 200
        await client.drip(b"x")
        await until(lambda: not server.connections)


async def test_time_for_the_next_head_does_not_run_out_while_an_answer_is_owed():
    async with serving(replace(LONG, head_s=0.05)) as server:
        client = await server.open()
        await client.send(GET.replace(b"/ ", b"/wait ") + GET[:10])
        await asyncio.sleep(0.2)
        server.application.may_answer.set()
        assert (await client.answer())[0] == 200


async def test_connections_beyond_the_limit_are_503_and_those_within_go_on(until: Until):
    async with serving(replace(LONG, connections=2, turned_away=2)) as server:
        within = [await server.open() for _ in range(2)]
        await until(lambda: len(server.connections) == 2)
        turned_away = [await server.open() for _ in range(2)]
        for client in turned_away:
            await client.send(GET)
            assert problem(await client.answer()) == (503, "overloaded")
        beyond = await server.open()
        assert await beyond.at_end()
        for client in within:
            await client.send(GET)
            assert (await client.answer())[0] == 200
        for client in (*within, *turned_away, beyond):
            client.close()
        await until(lambda: not server.connections)
        await (client := await server.open()).send(GET)
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("ending", ["", "Connection: close"])
async def test_who_does_not_read_an_answer_loses_the_connection(ending: str, until: Until):
    async with serving(replace(LONG, write_s=0.2)) as server:
        client = await server.open(receives=4096)
        await client.send(post("/large", 0, *filter(None, [ending])))
        await until(lambda: any(connection._socket.get_write_buffer_size() for connection in server.connections))
        await until(lambda: not server.connections)


async def test_who_reads_an_answer_gets_all_of_it(until: Until):
    async with serving(LONG) as server:
        client = await server.open()
        await client.send(post("/large", 0, "Connection: close"))
        status, body = await client.answer()
        assert (status, len(body)) == (200, LARGE)
        assert await client.at_end()
        await until(lambda: not server.connections)


async def test_who_has_read_a_large_answer_may_ask_on_the_same_connection():
    async with serving(LONG) as server:
        client = await server.open()
        for _ in range(2):
            await client.send(post("/large", 0))
            assert len((await client.answer())[1]) == LARGE
            (connection,) = server.connections
            assert connection._write_timer is None


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_early_answer_reaches_who_sends_everything_first(version: str, until: Until):
    async with serving(LONG) as server:
        client = await server.open()
        head = post("/", 20_000_000, "Connection: close").replace(b"HTTP/1.1", b"HTTP/" + version.encode())
        await client.send(head + bytes(20_000_000))
        assert await client.answer() == (200, bytes(5))
        assert await client.at_end()
        client.close()
        await until(lambda: not server.connections)


@pytest.mark.parametrize("bounds", [replace(LONG, linger_s=0.1), replace(LONG, linger_bytes=100_000)])
async def test_what_comes_after_the_last_answer_is_not_dropped_for_ever(bounds: Bounds, until: Until):
    async with serving(bounds) as server:
        client = await server.open()
        await client.send(post("/", 1 << 40, "Connection: close"))
        assert (await client.answer())[0] == 200
        await client.drip(bytes(10_000))
        await until(lambda: not server.connections)


async def test_nonsense_is_400():
    async with serving(LONG) as server:
        client = await server.open()
        await client.send(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert problem(await client.answer()) == (400, "malformed-request")


@pytest.mark.parametrize("between", [b"", GET])
async def test_an_answer_to_nonsense_is_never_taken_for_that_of_a_request_before(between: bytes):
    async with serving(LONG) as server:
        client = await server.open()
        await client.send(GET.replace(b"/ ", b"/wait ") + between + b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert await client.at_end()
        server.application.may_answer.set()
        assert await client.at_end()
