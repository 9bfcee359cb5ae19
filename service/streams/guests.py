"""Calls that need no key, such as those for health: how many there may be, and how long they may be silent.

They have places of their own, so that whoever holds them all takes none from the calls that do. A place is held until
the library has done with the call: a client that does not read keeps what it has.
"""

import asyncio
from collections import Counter
from typing import Any

import grpc.aio

from service.errors import BodyTooSlow, MalformedRequest, Overloaded, ServiceError
from service.metrics import Metrics
from service.streams.context import Context, end, peer_of, read
from service.streams.status import describe
from service.tracing import choose_request_id

# Programs send their message with the call.
SILENCE_S = 10.0
# One address has no more than this part of the places.
SHARE = 4


class Guests:
    """Places for `most` calls of one method. `name`: what refusals are counted as. `silence_s`: for a message."""

    def __init__(self, name: str, most: int, *, metrics: Metrics, silence_s: float = SILENCE_S) -> None:
        self.most = most
        self.silence_s = silence_s
        self._name = name
        self._metrics = metrics
        self._by_peer: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._by_peer.total()

    async def admit(self, context: Context) -> None:
        """Gives the call a place until it has ended, or ends it with UNAVAILABLE."""
        peer = peer_of(context)
        if len(self) >= self.most or self._by_peer[peer] >= self.most // SHARE:
            self._metrics.rejected.labels(self._name).inc()
            await refuse(context, Overloaded(f"too many such calls are open, {self._by_peer[peer]} from your address"))
        self._by_peer[peer] += 1
        context.add_done_callback(lambda _: self._leave(peer))  # type: ignore[arg-type]  # a wrong stub

    async def read(self, context: Context) -> Any:
        """The next message or grpc.aio.EOF; what does not come in time, or is none, ends the call."""
        try:
            async with asyncio.timeout(self.silence_s):
                return await read(context)
        except TimeoutError:
            await refuse(context, BodyTooSlow(f"no message came within {self.silence_s:g} s"))
        except MalformedRequest as error:
            await refuse(context, error)

    async def read_one(self, context: Context) -> Any:
        """The one message of a call that has one."""
        message = await self.read(context)
        if message is grpc.aio.EOF:
            await refuse(context, MalformedRequest("the call brought no message"))
        return message

    def _leave(self, peer: str) -> None:
        self._by_peer[peer] -= 1
        if not self._by_peer[peer]:
            del self._by_peer[peer]


async def refuse(context: Context, error: ServiceError) -> None:
    """Ends a call."""
    await end(context, describe(error, choose_request_id("")), timeout_s=None)
