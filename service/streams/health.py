"""grpc.health.v1: whether the server is to be sent calls, for whoever asks once and whoever wants to be told.

Written here, because the library's own forgets everybody who watches as soon as one of them leaves.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.errors import Overloaded
from service.streams.call import Context
from service.streams.status import describe
from service.tracing import choose_request_id

Status = health_pb2.HealthCheckResponse
# They stay for as long as they like, and need no key.
MOST_WATCHERS = 256


class Health(health_pb2_grpc.HealthServicer):
    """One status for all `names`; NOT_SERVING until it is set."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._serving = False
        self._ended = False
        self._changed = asyncio.Event()
        self._watchers = 0

    def set(self, *, serving: bool) -> None:
        """Tells everybody who watches, where it is news."""
        if serving != self._serving:
            self._serving = serving
            self._wake()

    def end(self) -> None:
        """NOT_SERVING, for the last time: nobody may watch any longer."""
        self._serving = False
        self._ended = True
        self._wake()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> Any:  # noqa: N802
        """The method of the protocol. Services that are not here are NOT_FOUND."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return Status(status=self._status(request.service))

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: N802
        """The method of the protocol: the status, and then each change. A service that is not here is unknown."""
        if self._watchers >= MOST_WATCHERS:
            refusal = Overloaded(f"{self._watchers} watch already")
            await context.abort_with_status(describe(refusal, choose_request_id("")))
        self._watchers += 1
        try:
            await self._tell(request.service, context)
        finally:
            self._watchers -= 1

    async def _tell(self, name: str, context: Context) -> None:
        told: int | None = None
        while True:
            # Before the status is looked at, so that none is missed while it is being sent.
            changed = self._changed
            status = self._status(name)
            if status != told:
                told = status
                await context.write(Status(status=told))
            if self._ended:
                # Well: clients forget what they have not read yet where a call ends with an error.
                return
            await changed.wait()

    def _status(self, name: str) -> Any:
        if name not in self._names:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if self._serving else Status.NOT_SERVING

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
