"""What a connection may take, over HTTP and as a WebSocket, and its transport as uvicorn's protocols have it.

uvicorn's code closes a transport where ours has more to do to end a connection: so it is given another one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the connections of one process may take.

    A head is counted by the chunks of the socket that it comes in, so one of up to a chunk more may pass. `turned_away`
    of those beyond `connections` may wait for their 503 at a time, before even that is spared.
    """

    # A token, a trace and every header of a browser together have a tenth of it.
    head_bytes: int = 64 * 1024
    head_s: float = 10.0
    # Twice what a process can answer in the time that a client waits; a file descriptor and some 20 kB each.
    connections: int = 2048
    turned_away: int = 256
    # For 64 KiB of buffer to drain: by then the client is away, or reads on purpose as slowly as that.
    write_s: float = 30.0
    linger_s: float = 2.0
    # More than a client is likely to send in that time over a network.
    linger_bytes: int = 64 * 1024 * 1024


class Wire:
    """A transport that closes by `close`, and `is_closing` as soon as that says so; what it passes on costs nothing."""

    __slots__ = ("close", "get_extra_info", "is_closing", "pause_reading", "resume_reading", "write")

    def __init__(
        self, transport: asyncio.Transport, *, close: Callable[[], None], is_closing: Callable[[], bool]
    ) -> None:
        self.write = transport.write
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info
        self.close = close
        self.is_closing = is_closing
