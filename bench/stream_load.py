"""A closed-loop load of streams: each keeps so many frames unanswered, delivery `every`, and no answer is parsed.

What load.py is for HTTP. Frames are prepared as bytes but for their sequence number. Two clients can send them: the
lean one of http2.py, which costs about as much as load.py's, and the library's own, grpc.aio, which costs more.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
from http2 import ENDED, GrpcCall
from load import HOST, Load, measured

from service.streams.wire import detection_pb2 as pb

METHOD = "/yolov7.v1.Detection/DetectStream"
_OPENED, _RESULT = (number << 3 | 2 for number in (1, 2))  # the first byte of a StreamResponse that is one
_FRAME = bytes([2 << 3 | 2])  # and of a StreamRequest that is a frame
_OK = 200


@dataclass(frozen=True, slots=True)
class Streams:
    """``count`` streams, each on a connection of its own, which have ``in_flight`` frames unanswered each."""

    count: int
    in_flight: int


class Requests:
    """The messages of streams, whose photos come in turn."""

    def __init__(self, jpegs: Sequence[bytes]) -> None:
        frames = [pb.Frame(image=pb.Image(encoded=jpeg)).SerializeToString() for jpeg in jpegs]
        self._turn: Iterator[tuple[int, bytes]] = enumerate(itertools.cycle(frames))

    def opening(self, streams: Streams) -> bytes:
        """The first message of a stream."""
        opening = pb.Open(name="bench", every=pb.Every(credits=streams.in_flight))
        return pb.StreamRequest(open=opening).SerializeToString()

    def __next__(self) -> bytes:
        """The next frame, of whichever stream: numbers rise in each."""
        number, image = next(self._turn)
        frame = pb.Frame(sequence=number).SerializeToString() + image
        return _FRAME + _varint(len(frame)) + frame


def drive_streams(port: int, jpegs: Sequence[bytes], streams: Streams, *, seconds: float, aio: bool = False) -> Load:
    """Keep the frames in flight for ``seconds``; those in flight at the end are awaited and counted.

    Answers that are no results are counted by the number of their field in StreamResponse, a lost stream by 0.
    """
    load = Load()
    client = _AioClient if aio else _LeanClient
    measured(client(Requests(jpegs), streams, load).run(port, seconds=seconds), load)
    return load


class _LeanClient:
    """All the streams of one run, by http2.py."""

    def __init__(self, requests: Requests, streams: Streams, load: Load) -> None:
        self._requests = requests
        self._streams = streams
        self._load = load
        self._until = 0.0
        self._progress = asyncio.Semaphore(0)

    async def run(self, port: int, *, seconds: float) -> None:
        """Open the streams, keep each busy until the time is over, and wait for the last answer."""
        loop = asyncio.get_running_loop()
        authority, count = f"{HOST}:{port}", self._streams.count
        opened = [
            loop.create_connection(lambda: GrpcCall(authority, METHOD, self._came), HOST, port) for _ in range(count)
        ]
        calls = [call for _, call in await asyncio.gather(*opened)]
        for call in calls:
            call.send(self._requests.opening(self._streams))
        for _ in calls:
            await self._progress.acquire()
        if any(call.ended for call in calls):
            raise SystemExit(f"a stream was refused on port {port}")
        self._until = time.perf_counter() + seconds
        for call in calls:
            for _ in range(self._streams.in_flight):
                self._next(call)
        for _ in calls:
            await self._progress.acquire()
        for call in calls:
            call.close()

    def _next(self, call: GrpcCall) -> None:
        call.scheduled.append(time.perf_counter())
        call.send(next(self._requests))

    def _came(self, call: GrpcCall, first: int) -> None:
        if first == _OPENED:
            self._progress.release()
            return
        now = time.perf_counter()
        while call.scheduled:
            self._load.note(_status(first), now - call.scheduled.popleft())
            if first != ENDED:
                break
        if first != ENDED and now < self._until:
            self._next(call)
        elif not call.scheduled:
            self._progress.release()


class _AioClient:
    """All the streams of one run, by grpc.aio."""

    def __init__(self, requests: Requests, streams: Streams, load: Load) -> None:
        self._requests = requests
        self._streams = streams
        self._load = load

    async def run(self, port: int, *, seconds: float) -> None:
        """See _LeanClient."""
        await asyncio.gather(*(self._stream(port, seconds) for _ in range(self._streams.count)))

    async def _stream(self, port: int, seconds: float) -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(f"{HOST}:{port}", options=options) as channel:
            call = channel.stream_stream(METHOD)()
            await call.write(self._requests.opening(self._streams))
            await call.read()
            room = asyncio.Semaphore(self._streams.in_flight)
            scheduled: deque[float] = deque()
            reading = asyncio.create_task(self._read(call, room, scheduled))
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                await room.acquire()
                scheduled.append(time.perf_counter())
                await call.write(next(self._requests))
            await call.done_writing()
            await reading

    async def _read(self, call: grpc.aio.StreamStreamCall, room: asyncio.Semaphore, scheduled: deque[float]) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            self._load.note(_status(message[0]), time.perf_counter() - scheduled.popleft())
            room.release()


def _status(first: int) -> int:
    return _OK if first == _RESULT else first >> 3


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
