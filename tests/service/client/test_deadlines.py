"""Which limit a wait for a connection ends at: the same over both transports, with threads and on an event loop."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from service.client import AsyncClient, Client, ClientError, ConnectionFailed, TimedOut

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

# timeout_s, connect_timeout_s and what it is if the shorter passes.
LIMITS = pytest.mark.parametrize(
    ("timeout_s", "connect_timeout_s", "kind"), [(0.2, 30.0, TimedOut), (30.0, 0.2, ConnectionFailed)]
)


@pytest.fixture
def hole() -> Iterator[str]:
    """host:port where a connection neither comes about nor fails."""
    with contextlib.ExitStack() as open_sockets, socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        for _ in range(3):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield f"127.0.0.1:{full.getsockname()[1]}"


@LIMITS
@pytest.mark.parametrize("ask", [Client.models, lambda client: next(client.stream([b""]))], ids=["http", "grpc"])
def test_with_threads(
    hole: str, timeout_s: float, connect_timeout_s: float, kind: type[ClientError], ask: Callable[[Client], Any]
):
    limits = {"timeout_s": timeout_s, "connect_timeout_s": connect_timeout_s}
    with Client(f"http://{hole}", grpc=hole, retries=0, **limits) as client, pytest.raises(ClientError) as caught:
        ask(client)
    assert type(caught.value) is kind


async def nothing() -> AsyncIterator[bytes]:
    yield b""


@LIMITS
@pytest.mark.parametrize(
    "ask", [AsyncClient.models, lambda client: anext(client.stream(nothing()))], ids=["http", "grpc"]
)
async def test_on_an_event_loop(
    hole: str, timeout_s: float, connect_timeout_s: float, kind: type[ClientError], ask: Callable[[AsyncClient], Any]
):
    limits = {"timeout_s": timeout_s, "connect_timeout_s": connect_timeout_s}
    async with AsyncClient(f"http://{hole}", grpc=hole, retries=0, **limits) as client:
        with pytest.raises(ClientError) as caught:
            await ask(client)
    assert type(caught.value) is kind


def test_no_deadline_at_all_is_none_that_a_thread_fails_at(client: Client, png: bytes):
    # What fails in a thread fails the test.
    assert len(list(client.stream([png], delivery="every", timeout_s=float("inf")))) == 1
    assert len(client.detect(png, timeout_s=float("inf")).detections) == 2
