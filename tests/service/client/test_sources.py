"""Where the frames come from: its errors are told, and it is closed however the stream ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import grpc.aio
import pytest

from service.client import AsyncClient, Client, ConnectionFailed, Retries, ServiceUnavailable
from service.client.frames import Opening
from service.client.looped import AsyncLine, stream_frames
from service.client.options import Options
from service.streams.wire.detection_pb2_grpc import DetectionStub

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]


@pytest.fixture
async def looped_client(serving: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(serving.url, grpc=serving.grpc) as client:
        yield client


async def all_of(stream: AsyncIterator[Any]) -> list[Any]:
    return [answer async for answer in stream]


class Source:
    """Gives one picture again and again. `closing` is called as it is closed; `closed`: it has been, to the end."""

    def __init__(self, picture: bytes, closing: Callable[[], None] = lambda: None, *, slow: bool = False) -> None:
        self.closed = threading.Event()
        self._picture = picture
        self._closing = closing
        self._slow = slow

    def frames(self) -> Iterator[bytes]:
        try:
            while True:
                yield self._picture
        finally:
            self._closing()
            self.closed.set()

    async def frames_async(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield self._picture
        finally:
            if self._slow:
                await asyncio.sleep(0.05)
            self._closing()
            self.closed.set()


def fail() -> None:
    raise OSError("it does not close")


def test_a_generator_is_closed_when_the_caller_leaves(client: Client, png: bytes):
    source = Source(png)
    frames = source.frames()  # held, so that no collector closes it
    stream = client.stream(frames, delivery="every")
    next(stream)
    stream.close()
    assert source.closed.is_set()
    assert list(frames) == []


def test_a_generator_is_closed_when_the_stream_breaks(serving: Any, png: bytes):
    source = Source(png)
    frames = source.frames()
    with Client(serving.url, grpc=serving.grpc) as client:
        stream = client.stream(frames, delivery="every")
        next(stream)
        client.close()
        with pytest.raises(ConnectionFailed):
            list(stream)
    assert source.closed.is_set()
    assert list(frames) == []


def test_a_closing_that_fails_hides_no_error(serving: Any, png: bytes, caplog: pytest.LogCaptureFixture):
    frames = Source(png, fail).frames()
    with Client(serving.url, grpc=serving.grpc) as client:
        stream = client.stream(frames, delivery="every")
        next(stream)
        client.close()
        with pytest.raises(ConnectionFailed):
            list(stream)
    assert "could not be closed" in caplog.text


class Camera:
    """One of the caller's, which it opened and will close."""

    def __init__(self, picture: bytes) -> None:
        self.closed = False
        self._picture = picture

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._picture

    def close(self) -> None:
        self.closed = True


def test_what_is_no_generator_is_not_ours_to_close(client: Client, png: bytes):
    camera = Camera(png)
    stream = client.stream(camera, delivery="every")
    next(stream)
    stream.close()
    assert not camera.closed


def test_a_source_that_blocks_is_left_when_it_moves(client: Client, png: bytes, comes_true: Any, readers: Any):
    moves, closed = threading.Event(), threading.Event()

    def source() -> Iterator[bytes]:
        try:
            yield png
            moves.wait(20)
            yield png
        finally:
            closed.set()

    stream = client.stream(source(), delivery="every")
    next(stream)
    stream.close()
    moves.set()
    assert comes_true(lambda: not readers())
    assert closed.wait(20)


def test_an_error_of_the_source_comes_after_the_answers(client: Client, png: bytes):
    def source() -> Iterator[bytes]:
        yield png
        raise OSError("the cable is out")

    stream = client.stream(source(), delivery="every")
    assert next(stream).sequence == 0
    with pytest.raises(OSError, match="the cable is out"):
        next(stream)


def test_a_source_that_ends_the_program_ends_the_stream(client: Client, png: bytes):
    def frames() -> Iterator[bytes]:
        yield png
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(client.stream(frames(), delivery="every"))


@pytest.mark.parametrize("slow", [False, True])
async def test_on_a_loop_a_generator_is_closed_when_the_caller_leaves(looped_client: Any, png: bytes, slow: bool):
    source = Source(png, slow=slow)
    frames = source.frames_async()
    async with aclosing(looped_client.stream(frames, delivery="every")) as stream:
        await anext(stream)
    assert source.closed.is_set()
    assert [frame async for frame in frames] == []


@pytest.mark.parametrize("slow", [False, True])
async def test_on_a_loop_a_generator_is_closed_when_the_service_ends(make_serving: Any, png: bytes, slow: bool):
    serving, source = make_serving(), Source(png, slow=slow)
    frames = source.frames_async()
    async with AsyncClient(serving.url, grpc=serving.grpc) as client:
        stream = client.stream(frames, delivery="every")
        await anext(stream)
        serving.end()
        with pytest.raises(ServiceUnavailable):
            await all_of(stream)
    assert source.closed.is_set()
    assert [frame async for frame in frames] == []


async def test_on_a_loop_a_closing_that_fails_hides_no_error(
    serving: Any, png: bytes, caplog: pytest.LogCaptureFixture
):
    frames = Source(png, fail).frames_async()
    client = AsyncClient(serving.url, grpc=serving.grpc)
    stream = client.stream(frames, delivery="every")
    await anext(stream)
    await client.aclose()
    with pytest.raises(ConnectionFailed):
        async for _ in stream:
            pass
    assert "could not be closed" in caplog.text


async def test_on_a_loop_a_source_that_does_not_end_is_left(serving: Any, png: bytes, caplog: pytest.LogCaptureFixture):
    told_to_end, may_end = 0, asyncio.Event()

    async def frames() -> AsyncIterator[bytes]:
        nonlocal told_to_end
        yield png
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                told_to_end += 1

    async with grpc.aio.insecure_channel(serving.grpc) as channel:
        line = AsyncLine(DetectionStub(channel), (), Retries(0), 20, asyncio.sleep, close_s=0.05)
        async with aclosing(stream_frames(line, frames(), Opening(Options(), "every"))) as stream:
            await anext(stream)
    assert "did not end" in caplog.text
    await asyncio.sleep(0)
    assert told_to_end == 2
    may_end.set()


async def test_on_a_loop_an_error_of_the_source_comes_after_the_answers(looped_client: AsyncClient, png: bytes):
    async def source() -> AsyncIterator[bytes]:
        yield png
        raise OSError("the cable is out")

    stream = looped_client.stream(source(), delivery="every")
    assert (await anext(stream)).sequence == 0
    with pytest.raises(OSError, match="the cable is out"):
        await anext(stream)


async def test_on_a_loop_a_source_that_is_cancelled_ends_the_stream(looped_client: AsyncClient, png: bytes):
    async def frames() -> AsyncIterator[bytes]:
        yield png
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled"):
        async for _ in looped_client.stream(frames(), delivery="every"):
            pass
