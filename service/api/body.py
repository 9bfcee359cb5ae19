"""Reading a request's body: no more bytes than allowed, no longer than allowed, and noticing that the client left.

Knows nothing of what the bytes mean.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from service.errors import BodyTooLarge, BodyTooSlow, ClientLeft, MalformedRequest

T = TypeVar("T")


async def read_body(request: Request, *, max_bytes: int, timeout_s: float) -> bytes:
    """The whole body. A length that is announced is checked before a byte is read, one that is not while they come.

    Raises BodyTooLarge, BodyTooSlow, ClientLeft or MalformedRequest.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal():
        raise MalformedRequest("Content-Length is not a number")
    if int(announced) > max_bytes:
        raise BodyTooLarge(f"the body has {int(announced):,} bytes; at most {max_bytes:,} are taken")
    try:
        async with asyncio.timeout(timeout_s):
            return await _collect(request.receive, max_bytes)
    except TimeoutError:
        raise BodyTooSlow(f"the body did not arrive within {timeout_s:g} s") from None


async def unless_client_leaves(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled, with ClientLeft raised, as soon as the connection is gone.

    The body must have been read: what `receive` brings next can only be the end of the connection.
    """
    current = asyncio.current_task()
    assert current is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        current.cancel()

    watcher = asyncio.get_running_loop().create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        current.uncancel()
        raise ClientLeft("the client left before its answer was ready") from None
    finally:
        watcher.cancel()


async def _collect(receive: Receive, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft("the client left before its body had arrived")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > max_bytes:
            raise BodyTooLarge(f"the body has more than {max_bytes:,} bytes")
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
