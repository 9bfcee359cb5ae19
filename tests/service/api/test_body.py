"""Reading a body within its limits, and noticing who leaves."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from service.api.body import read_body, unless_client_leaves
from service.errors import BodyTooLarge, BodyTooSlow, ClientLeft, MalformedRequest

pytestmark = pytest.mark.anyio

LEAVES: Message = {"type": "http.disconnect"}


class Sender:
    """A client that sends these chunks, and then says nothing more."""

    def __init__(self, *messages: Message | bytes) -> None:
        self.messages = list(messages)

    async def __call__(self) -> Message:
        if not self.messages:
            await asyncio.Event().wait()
        message = self.messages.pop(0)
        if isinstance(message, bytes):
            return {"type": "http.request", "body": message, "more_body": message != b""}
        return message


async def read(sender: Sender, *, length: str | None = None, timeout_s: float = 5.0) -> bytes:
    headers = [] if length is None else [(b"content-length", length.encode())]
    request = Request({"type": "http", "headers": headers, "method": "POST", "path": "/"}, sender)
    return await read_body(request, max_bytes=10, timeout_s=timeout_s)


async def test_chunks_are_joined():
    assert await read(Sender(b"abc", b"de", b"")) == b"abcde"


async def test_a_body_at_the_limit_is_taken():
    assert await read(Sender(b"0123456789", b""), length="10") == b"0123456789"


async def test_an_announced_length_over_the_limit_is_refused_unread():
    sender = Sender(b"0123456789", b"0", b"")
    with pytest.raises(BodyTooLarge, match="11 bytes"):
        await read(sender, length="11")
    assert len(sender.messages) == 3


async def test_an_unannounced_length_is_refused_while_it_comes():
    sender = Sender(b"0123456789", b"0", b"more", b"")
    with pytest.raises(BodyTooLarge, match="more than 10"):
        await read(sender)
    assert sender.messages == [b"more", b""]


async def test_a_slow_body_is_cut_off():
    with pytest.raises(BodyTooSlow):
        await read(Sender(b"abc"), timeout_s=0.01)


async def test_a_length_that_is_no_number_is_malformed():
    with pytest.raises(MalformedRequest):
        await read(Sender(b""), length="-1")


async def test_a_client_that_leaves_while_sending_is_noticed():
    with pytest.raises(ClientLeft):
        await read(Sender(b"abc", LEAVES))


async def test_work_is_cancelled_when_the_client_leaves():
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientLeft):
        await unless_client_leaves(Sender(LEAVES), work())
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_what_comes_before_the_end_of_the_connection_is_passed_over():
    with pytest.raises(ClientLeft):
        await unless_client_leaves(Sender(b"", LEAVES), asyncio.Event().wait())


async def test_work_that_ends_first_is_answered():
    assert await unless_client_leaves(Sender(), asyncio.sleep(0, "done")) == "done"


async def test_an_error_of_the_work_passes_through():
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await unless_client_leaves(Sender(), work())


async def test_cancelling_the_request_cancels_its_work():
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    request = asyncio.create_task(unless_client_leaves(Sender(), work()))
    await started.wait()
    request.cancel()
    await asyncio.wait_for(cancelled.wait(), 1)
