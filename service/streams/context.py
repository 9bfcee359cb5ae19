"""What we ask of a call beyond what the library gives: where it is from, its next message, an end in good time."""

import asyncio
import urllib.parse
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from service.errors import MalformedRequest

Context = grpc.aio.ServicerContext[Any, Any]

CANCEL_S = 0.05


class EndNotTaken(Exception):
    """The client does not take the end of its call: it reads nothing of what came before."""


def peer_of(context: Context) -> str:
    """The caller's address, without its port."""
    kind, _, rest = context.peer().partition(":")
    return urllib.parse.unquote(rest.rpartition(":")[0]).strip("[]") if kind in ("ipv4", "ipv6") else rest


async def read(context: Context) -> Any:
    """The next message, or grpc.aio.EOF. Cancelled, it may lose one: nothing can be read after that.

    Raises MalformedRequest for bytes that are no such message.
    """
    try:
        message = await context.read()
    except DecodeError as exc:
        raise MalformedRequest("the message is not of the type that the method takes") from exc
    if message is grpc.aio.EOF:
        # So ends the client's side, but also a call that is being cancelled: then we are told of that in a moment.
        await asyncio.sleep(CANCEL_S)
    return message


async def end(context: Context, status: grpc.Status, *, timeout_s: float | None) -> NoReturn:
    """Ends the call with an error.

    Raises AbortError, which is for the library; CancelledError where the connection has ended; and EndNotTaken after
    the time given: what ends a call waits behind all that it was answered, as long as the client does not read.
    """
    try:
        async with asyncio.timeout(timeout_s) as limit:
            await context.abort_with_status(status)
    except grpc.aio.AbortError:
        raise
    except TimeoutError:
        if not limit.expired():
            raise
        raise EndNotTaken from None
    except grpc.aio.BaseError:
        # The connection has ended. The library would take it for a bug of ours.
        raise asyncio.CancelledError from None
