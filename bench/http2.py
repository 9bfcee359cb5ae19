"""One gRPC call on an HTTP/2 connection of its own, for a load generator: sends messages, says which came.

The counterpart of connection.py, and as lean, so that both transports are asked by generators that cost about the same.
It knows no more of HTTP/2 than a call of this kind needs: it decodes no header, opens the windows for answers once for
all, and keeps to those that the server opens for it. Only the first byte of an answer is looked at, which tells the
kinds of a oneof apart.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

ENDED = 0  # in place of the first byte of a message: the call or the connection is over

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW, _MAX_FRAME = 4, 5  # settings
_WIDEST = 2**31 - 1
_DEFAULT_WINDOW = 65_535
_STREAM = 1
_HEAD_BYTES = 9


class GrpcCall(asyncio.Protocol):
    """``came`` is called with the call and the first byte of each message that came; with ENDED once, at the end."""

    def __init__(self, authority: str, path: str, came: Callable[["GrpcCall", int], None]) -> None:
        self._headers = _encode_headers(authority, path)
        self._came = came
        self._transport: Any = None  # uvloop's transports are no subclasses of asyncio's
        self._received = bytearray()
        self._messages = bytearray()
        self._unsent: deque[memoryview] = deque()
        self._frame_bytes = 16_384
        self._initial_window = _DEFAULT_WINDOW
        self._windows = {0: _DEFAULT_WINDOW, _STREAM: _DEFAULT_WINDOW}
        self.ended = False
        self.scheduled: deque[float] = deque()  # the owner's note of when each unanswered message was due

    def send(self, message: bytes) -> None:
        """Send a message, as far as the windows allow now, the rest as soon as they do."""
        self._unsent.append(memoryview(struct.pack(">BI", 0, len(message)) + message))
        self._flush()

    def close(self) -> None:
        """Close without a word to the owner."""
        self.ended = True
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, _WIDEST))
        window = _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WIDEST - _DEFAULT_WINDOW))
        self._transport.write(_PREFACE + settings + window + _frame(_HEADERS, _END_HEADERS, _STREAM, self._headers))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        received = self._received
        received += data
        start = 0
        while len(received) - start >= _HEAD_BYTES:
            size = int.from_bytes(received[start : start + 3], "big")
            end = start + _HEAD_BYTES + size
            if len(received) < end:
                break
            stream = int.from_bytes(received[start + 5 : start + 9], "big")
            self._take(received[start + 3], received[start + 4], stream, bytes(received[start + _HEAD_BYTES : end]))
            start = end
        del received[:start]
        if self._unsent:
            self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """One frame of HTTP/2."""
        if kind == _DATA:
            self._messages += payload
            self._take_messages()
        elif kind == _WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _SETTINGS and not flags & _ACK:
            self._set(payload)
        if kind in (_RST_STREAM, _GOAWAY) or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._end()

    def _take_messages(self) -> None:
        messages = self._messages
        while len(messages) >= 5 and len(messages) >= (end := 5 + int.from_bytes(messages[1:5], "big")):
            first = messages[5]
            del messages[:end]
            self._came(self, first)

    def _set(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW:
                self._windows[_STREAM] += value - self._initial_window
                self._initial_window = value
            elif name == _MAX_FRAME:
                self._frame_bytes = value
        self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))

    def _flush(self) -> None:
        windows, pieces = self._windows, []
        while self._unsent:
            message = self._unsent.popleft()
            size = min(len(message), self._frame_bytes, windows[0], windows[_STREAM])
            if size <= 0:
                self._unsent.appendleft(message)
                break
            pieces += [_head(size, _DATA, 0, _STREAM), message[:size]]
            windows[0] -= size
            windows[_STREAM] -= size
            if size < len(message):
                self._unsent.appendleft(message[size:])
        if pieces:
            self._transport.writelines(pieces)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._transport.close()
            self._came(self, ENDED)


def _head(size: int, kind: int, flags: int, stream: int) -> bytes:
    return size.to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _head(len(payload), kind, flags, stream) + payload


def _encode_headers(authority: str, path: str) -> bytes:
    """Each by name and value, neither compressed nor remembered."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": authority}
    fields |= {"te": "trailers", "content-type": "application/grpc"}
    literals = (part.encode() for pair in fields.items() for part in pair)
    lengths = [bytes([len(part)]) + part for part in literals]
    return b"".join(b"\0" + name + value for name, value in zip(lengths[::2], lengths[1::2], strict=True))
