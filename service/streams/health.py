"""grpc.health.v1: whether the server is to be sent calls, for whoever asks once and whoever wants to be told.

Written here, because the library's own forgets everybody who watches as soon as one of them leaves. Its methods are
served as if their clients could send several messages, which on the wire is the same: else the library would wait for
the first one, and for ever.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from service.metrics import Metrics
from service.streams.context import Context
from service.streams.guests import Guests

HEALTH_SERVICE = "grpc.health.v1.Health"
Status = health_pb2.HealthCheckResponse
MOST_CHECKS = 256
# They stay for as long as they like.
MOST_WATCHERS = 256


class Health:
    """One status for all `names`; NOT_SERVING until it is set."""

    def __init__(self, names: Iterable[str], *, metrics: Metrics) -> None:
        self.checks = Guests("health", MOST_CHECKS, metrics=metrics)
        self.watchers = Guests("health", MOST_WATCHERS, metrics=metrics)
        self._names = frozenset(names)
        self._serving = False
        self._ended = False
        self._changed = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        of_request = health_pb2.HealthCheckRequest.FromString
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.stream_unary_rpc_method_handler(self.check, of_request, Status.SerializeToString),
            "Watch": grpc.stream_stream_rpc_method_handler(self.watch, of_request, Status.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, methods)

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

    async def check(self, _: object, context: Context) -> Any:
        """The method of the protocol. Services that are not here are NOT_FOUND."""
        await self.checks.admit(context)
        request = await self.checks.read_one(context)
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return Status(status=self._status(request.service))

    async def watch(self, _: object, context: Context) -> None:
        """The method of the protocol: the status, and then each change. A service that is not here is unknown."""
        await self.watchers.admit(context)
        request = await self.watchers.read_one(context)
        await self._tell(request.service, context)

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
