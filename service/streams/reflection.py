"""grpc.reflection.v1alpha: which methods and messages there are, for tools such as grpcurl.

The answers are the library's own; who may ask, and for how long, is not.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.metrics import Metrics
from service.streams.context import Context
from service.streams.guests import Guests

REFLECTION_SERVICE: str = reflection.SERVICE_NAME
MOST_READERS = 32


class Reflection:
    """Tells of the services `names`, and of itself."""

    def __init__(self, names: Iterable[str], *, metrics: Metrics) -> None:
        self.readers = Guests("reflection", MOST_READERS, metrics=metrics)
        # By its stub it is no generator, but it is one.
        self._answers: Any = reflection.aio.ReflectionServicer((*names, REFLECTION_SERVICE))

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self.info,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(REFLECTION_SERVICE, {"ServerReflectionInfo": method})

    async def info(self, _: object, context: Context) -> None:
        """The method of the protocol."""
        await self.readers.admit(context)
        async for answer in self._answers.ServerReflectionInfo(self._questions(context), context):
            await context.write(answer)

    async def _questions(self, context: Context) -> AsyncIterator[Any]:
        while (question := await self.readers.read(context)) is not grpc.aio.EOF:
            yield question
