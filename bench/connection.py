"""One keep-alive HTTP/1.1 connection of a load generator: sends prepared bytes, says when the answer is whole.

A protocol instead of streams: no task, no future and no lock per request, so that a request costs the generator well
under a tenth of a millisecond of a core. The body of an answer is counted, not kept.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

LOST = 0  # the "status" of a request whose connection broke before the answer was whole
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """At most one request in flight. ``answered`` is called with the connection and the status, LOST included.

    A connection that the other side has closed reports it by ``closed``; the owner opens another one.
    """

    def __init__(
        self, answered: Callable[["Connection", int], None], closed: Callable[["Connection"], None] | None = None
    ) -> None:
        self._answered = answered
        self._closed = closed
        self._transport: Any = None  # uvloop's transports are no subclasses of asyncio's
        self._head = b""
        self._status = LOST
        self._missing = 0  # bytes of the body
        self.waiting = False
        self.scheduled = 0.0  # the owner's note of when the request was due

    def send(self, request: bytes) -> None:
        """Send a request. If the connection is gone already, it is LOST at once."""
        assert not self.waiting
        self.waiting = True
        self._transport.write(request)

    def close(self) -> None:
        """Close without a word to the owner."""
        self._closed = None
        self.waiting = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._status == LOST:
            self._head += data
            end = self._head.find(_HEAD_END)
            if end < 0:
                return
            head = self._head[:end].lower() + b"\r\n"
            self._status = int(head[9:12])
            self._missing = _content_length(head) - (len(self._head) - end - len(_HEAD_END))
            self._head = b""
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            status, self._status, self.waiting = self._status, LOST, False
            self._answered(self, status)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self.waiting:
            self.waiting = False
            self._answered(self, LOST)
        if self._closed is not None:
            self._closed(self)


def request_bytes(
    image: bytes, *, host: str, path: str, content_type: str = "image/jpeg", headers: dict[str, str] | None = None
) -> bytes:
    """One POST with a raw image body."""
    fields = {"Host": host, "Content-Type": content_type, "Content-Length": str(len(image)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + image


def _content_length(head: bytes) -> int:
    start = head.find(_LENGTH)
    if start < 0:
        raise ValueError("an answer without Content-Length; this generator counts no chunks")
    start += len(_LENGTH)
    return int(head[start : head.index(b"\r\n", start)])
