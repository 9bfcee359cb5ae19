"""Real gRPC servers on real ports, and clients of them: calls, streams, and what their ends say."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from service.app import Service
from service.app.certificate import Certificate
from service.app.grpc import build_grpc
from service.streams.server import GrpcServer
from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

DETAILS = {"ErrorInfo", "RetryInfo", "BadRequest", "RequestInfo"}


@pytest.fixture(scope="module", autouse=True)
def grpc_loop(one_loop: None) -> None:
    """Every test of this folder calls over gRPC."""


@pytest.fixture
async def serve_on() -> AsyncIterator[Callable[..., Awaitable[GrpcServer]]]:
    """Serves a service over gRPC: (service, options of the server); it is closed at the end of the test."""
    servers: list[GrpcServer] = []

    async def serve_on(service: Service, certificate: Certificate | None = None, **options: object) -> GrpcServer:
        servers.append(build_grpc(service, certificate))
        servers[-1]._options = dataclasses.replace(servers[-1]._options, **{"port": 0} | options)
        await servers[-1].start()
        return servers[-1]

    yield serve_on
    for server in servers:
        await server.stop(0)


@pytest.fixture
async def open_channel() -> AsyncIterator[Callable[..., grpc.aio.Channel]]:
    """A connection of its own: (port, further options)."""
    async with AsyncExitStack() as channels:
        opened: list[grpc.aio.Channel] = []

        def open_channel(port: int, *further: tuple[str, int]) -> grpc.aio.Channel:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1), *further]
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
            opened.append(channel)
            return channel

        yield open_channel
        for channel in opened:
            await channels.enter_async_context(channel)


@pytest.fixture
async def make_stub(
    make_service: Callable[..., Awaitable[Service]], serve_on: Any, open_channel: Any
) -> Callable[..., Awaitable[DetectionStub]]:
    """A client of a service of its own: (engine=, settings). `stub.service` and `stub.port` are the server's side."""

    async def make(engine: Any = None, **settings: object) -> DetectionStub:
        service = await make_service(engine, **settings)
        server = await serve_on(service)
        stub = DetectionStub(open_channel(server.port))
        stub.service, stub.server, stub.port = service, server, server.port
        return stub

    return make


@pytest.fixture
async def stub(make_stub: Callable[..., Awaitable[DetectionStub]]) -> DetectionStub:
    return await make_stub()


class Refused:
    """How a call ended: its code, and the details by the name of their type."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code().name
        self.text = error.details()
        self.trailing = dict(error.trailing_metadata())
        status = rpc_status.from_call(_Ended(error))
        self.details: dict[str, Any] = {}
        for packed in status.details if status else ():
            name = packed.TypeName().rpartition(".")[2]
            self.details[name] = getattr(error_details_pb2, name)()
            packed.Unpack(self.details[name])

    @property
    def reason(self) -> str:
        return self.details["ErrorInfo"].reason


class _Ended:
    """An ended call as grpc_status reads it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code, self.details, self.trailing_metadata = error.code, error.details, error.trailing_metadata


@pytest.fixture(scope="session")
def refused() -> Callable[[Awaitable[Any]], Awaitable[Refused]]:
    """How a call that must fail ends: (call)."""

    async def refused(call: Awaitable[Any]) -> Refused:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        return Refused(caught.value)

    return refused


class Camera:
    """The client's side of one stream."""

    def __init__(self, stub: DetectionStub, **call: Any) -> None:
        self.call = stub.DetectStream(**call)

    async def open(self, **opening: Any) -> pb.Opened:
        """Opens it and returns what is in force."""
        await self.call.write(pb.StreamRequest(open=pb.Open(**opening)))
        return (await self.answer()).opened

    async def send(self, sequence: int, encoded: bytes | None = None, **frame: Any) -> None:
        """Sends one frame, an encoded one or one with an image of its own."""
        if encoded is not None:
            frame["image"] = pb.Image(encoded=encoded)
        await self.call.write(pb.StreamRequest(frame=pb.Frame(sequence=sequence, **frame)))

    async def answer(self) -> pb.StreamResponse:
        """The next answer; the stream must not have ended."""
        answer = await self.call.read()
        assert answer is not grpc.aio.EOF
        return answer

    async def rest(self) -> list[pb.StreamResponse]:
        """Ends the client's side, and reads all that is still answered."""
        await self.call.done_writing()
        answers = []
        while (answer := await self.call.read()) is not grpc.aio.EOF:
            answers.append(answer)
        assert await self.call.code() == grpc.StatusCode.OK
        return answers


@pytest.fixture(scope="session")
def camera() -> type[Camera]:
    """Begins a stream: (stub, arguments of the call)."""
    return Camera


@pytest.fixture(scope="session")
def request_of() -> Callable[..., pb.DetectRequest]:
    """A request for an encoded picture: (data, options)."""
    return lambda data, **options: pb.DetectRequest(image=pb.Image(encoded=data), options=pb.Options(**options))
