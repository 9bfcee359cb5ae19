"""Clients that vanish, do not read, flood or send nonsense: their streams end, and nobody else notices."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

pytestmark = pytest.mark.anyio

Stub = Any
MakeCamera = Callable[..., Any]
EVERY = {"every": pb.Every()}


class Relay:
    """A network between a client and the server, which can be cut or held up."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, port: int) -> int:
        """Returns the port that leads to `port`."""
        self._behind = port
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        further_reader, further_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers += [writer, further_writer]
        self._tasks += [
            asyncio.create_task(pump(reader, further_writer)),
            asyncio.create_task(pump(further_reader, writer)),
        ]

    def cut(self) -> None:
        """Both sides lose their connection at once, with nothing said."""
        for writer in self._writers:
            writer.transport.abort()

    async def aclose(self) -> None:
        self.cut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    yield relay
    await relay.aclose()


async def is_undisturbed(other: Any, sequence: int, png: bytes) -> None:
    """The next frame of a stream is answered."""
    await other.send(sequence, png)
    assert (await other.answer()).result.sequence == sequence


async def test_a_connection_that_is_cut_ends_its_stream(
    stub: Stub, camera: MakeCamera, relay: Relay, open_channel: Any, png: bytes, until: Any, sample: Any
):
    other, cut = camera(stub), camera(DetectionStub(open_channel(await relay.start(stub.port))))
    await other.open(**EVERY)
    await cut.open(**EVERY)
    await cut.send(1, png)
    assert (await cut.answer()).result.sequence == 1
    assert sample(stub.service, "streams_open", transport="grpc") == 2
    relay.cut()
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 1)
    assert sample(stub.service, "requests_in_flight") == 0
    await is_undisturbed(other, 1, png)


async def test_a_cut_under_work_frees_the_place(
    make_stub: Callable[..., Awaitable[Stub]], engine_with_switch: Any, camera: MakeCamera, relay: Relay,
    open_channel: Any, png: bytes, until: Any, sample: Any,
):  # fmt: skip
    stub = await make_stub(engine_with_switch)
    cut = camera(DetectionStub(open_channel(await relay.start(stub.port))))
    await cut.open(**EVERY)
    engine_with_switch.gate.clear()
    for sequence in range(5):
        await cut.send(sequence, png)
    await until(lambda: sample(stub.service, "requests_in_flight") > 0)
    relay.cut()
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 0)
    assert sample(stub.service, "requests_in_flight") == 0
    engine_with_switch.gate.set()


@pytest.fixture
def crowded(encode: Callable[..., bytes]) -> bytes:
    """A picture whose answer is long: as many coloured cells as there are candidates."""
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[::16, :, 0] = 255
    return encode(picture)


async def flood(camera: Any, data: bytes, count: int) -> None:
    for sequence in range(count):
        await camera.send(sequence, data)


async def test_who_does_not_read_is_cut_off(
    stub: Stub, camera: MakeCamera, open_channel: Any, crowded: bytes, png: bytes, until: Any, sample: Any
):
    streams = stub.service.streams
    streams.limits = dataclasses.replace(streams.limits, send_timeout_s=0.3)
    # Its window does not grow, so that it is full soon.
    channel = open_channel(stub.port, ("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0))
    other, slow = camera(stub), camera(DetectionStub(channel))
    await other.open(**EVERY)
    await slow.open(options=pb.Options(confidence=0.001, iou=1), **EVERY)
    flooding = asyncio.create_task(flood(slow, crowded, 100_000))
    await until(lambda: sample(stub.service, "errors_total", kind="stream-too-slow") == 1)
    assert sample(stub.service, "streams_open", transport="grpc") == 1
    await is_undisturbed(other, 1, png)
    # What was on its way is still there for it.
    assert (await slow.answer()).result.sequence == 0
    slow.call.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_who_does_not_even_read_the_end_is_left_to_the_connection(
    stub: Stub, camera: MakeCamera, open_channel: Any, crowded: bytes, until: Any, sample: Any
):
    streams = stub.service.streams
    streams.limits = dataclasses.replace(streams.limits, send_timeout_s=0.3)
    stub.server._calls.end_timeout_s = 0.1
    slow = camera(
        DetectionStub(open_channel(stub.port, ("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)))
    )
    await slow.open(options=pb.Options(confidence=0.001, iou=1), **EVERY)
    flooding = asyncio.create_task(flood(slow, crowded, 100_000))
    await until(lambda: sample(stub.service, "errors_total", kind="end-not-taken") == 1)
    await until(lambda: not stub.server._calls._running)
    slow.call.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_a_flood_of_frames_is_dropped_and_harms_no_other(
    stub: Stub, camera: MakeCamera, png: bytes, sample: Any, until: Any
):
    other, flooded = camera(stub), camera(stub)
    await other.open(**EVERY)
    await flooded.open()
    sending = asyncio.create_task(flood(flooded, png, 3000))
    for sequence in range(20):
        await is_undisturbed(other, sequence, png)
    told = 0
    while told < 3000:
        answer = await flooded.answer()
        told += answer.dropped.count if answer.HasField("dropped") else 1
    await sending
    assert await flooded.rest() == []
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 1)


@pytest.mark.parametrize(
    "nonsense", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 5000]
)
async def test_nonsense_on_the_port_harms_no_one(stub: Stub, camera: MakeCamera, png: bytes, nonsense: bytes):
    other = camera(stub)
    await other.open(**EVERY)
    reader, writer = await asyncio.open_connection("127.0.0.1", stub.port)
    writer.write(nonsense)
    await is_undisturbed(other, 1, png)
    writer.transport.abort()
    assert reader is not None


async def test_garbage_in_place_of_a_message_ends_its_stream_alone(
    stub: Stub, camera: MakeCamera, open_channel: Any, png: bytes, refused: Any
):
    other = camera(stub)
    await other.open(**EVERY)
    call = open_channel(stub.port).stream_stream("/yolov7.v1.Detection/DetectStream")()
    await call.write(pb.StreamRequest(open=pb.Open()).SerializeToString())
    await call.read()
    await call.write(b"\xff" * 100)
    end = await refused(call.read())
    assert (end.code, end.reason) == ("INVALID_ARGUMENT", "malformed-request")
    await is_undisturbed(other, 1, png)


async def test_many_that_come_and_go_leave_nothing(stub: Stub, camera: MakeCamera, png: bytes, until: Any, sample: Any):
    for _ in range(30):
        stream = camera(stub)
        await stream.open()
        await stream.send(1, png)
        stream.call.cancel()
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 0)
    await until(lambda: not stub.server._calls._running)
    assert sample(stub.service, "requests_in_flight") == 0
