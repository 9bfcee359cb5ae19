"""The client for an event loop: what differs from the one for threads, and that the rest is there."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.client import (
    AsyncClient,
    ConnectionFailed,
    FrameResult,
    FramesDropped,
    RequestRefused,
    Retries,
    ServiceUnavailable,
    TimedOut,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

UNAVAILABLE = (503, {"Retry-After": "2"}, b"")
MODELS = (200, {}, b'{"models": []}')


@pytest.fixture
async def client(serving: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(serving.url, grpc=serving.grpc) as client:
        yield client


async def several(*pictures: Any) -> AsyncIterator[Any]:
    for picture in pictures:
        yield picture


async def forever(picture: bytes) -> AsyncIterator[bytes]:
    while True:
        yield picture


async def test_pictures_come_in_every_form(client: AsyncClient, png: bytes, picture: NDArray[np.uint8], tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(png)
    for form in (path, png, picture):
        assert (await client.detect(form, confidence=0.5)).detections.labels == ("red", "blue")


async def test_the_models_are_told(client: AsyncClient):
    assert [model.name for model in await client.models()] == ["blocks"]


async def test_a_refusal_says_why(client: AsyncClient, png: bytes):
    with pytest.raises(RequestRefused) as caught:
        await client.detect(png, model="none")
    assert caught.value.problem.name == "unknown-model"


async def test_what_passes_is_tried_again(scripted: Callable[..., Any]):
    server, slept = scripted(UNAVAILABLE, None, MODELS), []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with AsyncClient(server.url, retries=Retries(draw=lambda: 1.0), sleep=sleep) as client:
        assert await client.models() == ()
    assert slept == [2.2, 0.4]


async def test_no_answer_is_waited_for_no_longer_than_the_deadline():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with AsyncClient(f"http://127.0.0.1:{silent.getsockname()[1]}") as client:
            with pytest.raises(TimedOut):
                await client.models(timeout_s=0.1)


async def test_every_frame_is_answered_in_its_order(client: AsyncClient, png: bytes, picture: NDArray[np.uint8]):
    stream = client.stream(several(png, picture, b"no picture", png), delivery="every", classes=["blue"])
    answers = [answer async for answer in stream]
    assert [answer.sequence for answer in answers] == [0, 1, 2, 3]
    assert [type(answer) is FrameResult for answer in answers] == [True, True, False, True]
    assert answers[1].detections.boxes.tolist() == [[64, 96, 72, 104]]


async def test_of_the_latest_each_has_one_outcome_and_the_last_is_answered(client: AsyncClient, png: bytes):
    answers = [answer async for answer in client.stream(several(*[png] * 50), max_age_s=20)]
    counts = [answer.count if isinstance(answer, FramesDropped) else 1 for answer in answers]
    assert (sum(counts), answers[-1].sequence) == (50, 49)


async def test_every_holds_the_source_back(
    make_serving: Callable[..., Any], engine_with_switch: Any, png: bytes, until: Callable[..., Awaitable[None]]
):
    serving, taken = make_serving(engine_with_switch, stream_credits=3), []

    async def source() -> AsyncIterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield png

    serving.call(engine_with_switch.gate.clear)
    async with AsyncClient(serving.url, grpc=serving.grpc) as client:
        stream = client.stream(source(), delivery="every")
        first = asyncio.create_task(anext(stream))
        await until(lambda: len(taken) == 3 and engine_with_switch.batches > 0)
        # While other questions come and go, this stream has every chance to read on.
        assert [len(await client.models()) for _ in range(30)] == [1] * 30
        assert len(taken) == 3
        serving.call(engine_with_switch.gate.set)
        answers = [await first, *[answer async for answer in stream]]
    assert [answer.sequence for answer in answers] == list(range(10))


async def test_leaving_early_ends_the_call_and_cancels_the_source(
    serving: Any, client: AsyncClient, png: bytes, until: Callable[..., Awaitable[None]]
):
    left = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        try:
            yield png
            await asyncio.Event().wait()
        finally:
            left.set()

    async with aclosing(client.stream(source(), delivery="every")) as stream:
        await anext(stream)
        assert len(serving.service.streams) == 1
    assert left.is_set()
    await until(lambda: len(serving.service.streams) == 0)


async def test_a_caller_that_is_cancelled_leaves_nothing_behind(
    serving: Any, client: AsyncClient, png: bytes, until: Callable[..., Awaitable[None]]
):
    async def watch() -> None:
        async with aclosing(client.stream(several(png, *[b"x"] * 5), delivery="every")) as stream:
            async for _ in stream:
                await asyncio.Event().wait()

    before = asyncio.all_tasks()
    watching = asyncio.create_task(watch())
    await until(lambda: len(serving.service.streams) == 1)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    await until(lambda: len(serving.service.streams) == 0)
    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_picture_that_is_none_is_an_error(client: AsyncClient):
    with pytest.raises(TypeError):
        await anext(client.stream(several("no picture at all"), delivery="every"))


async def test_a_refused_opening_is_told(client: AsyncClient, png: bytes):
    with pytest.raises(RequestRefused) as caught:
        await anext(client.stream(several(png), model="none"))
    assert (caught.value.problem.status, caught.value.problem.name) == (404, "unknown-model")


async def test_the_opening_is_tried_again(make_serving: Callable[..., Any], png: bytes, until: Any):
    serving, slept = make_serving(max_streams=1), []
    async with AsyncClient(serving.url, grpc=serving.grpc) as first:
        held = first.stream(forever(png), delivery="every")
        await anext(held)

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await held.aclose()
            await until(lambda: len(serving.service.streams) == 0)

        retries = Retries(draw=lambda: 0.0)
        async with AsyncClient(serving.url, grpc=serving.grpc, retries=retries, sleep=sleep) as second:
            assert (await anext(second.stream(several(png), delivery="every"))).sequence == 0
    assert slept == [1.0]


async def test_a_service_that_shuts_down_says_when_to_come_back(make_serving: Callable[..., Any], png: bytes):
    serving = make_serving()

    async def source() -> AsyncIterator[bytes]:
        yield png
        await asyncio.Event().wait()

    client = AsyncClient(serving.url, grpc=serving.grpc)
    async with client, aclosing(client.stream(source(), delivery="every")) as stream:
        await anext(stream)
        serving.end()
        with pytest.raises(ServiceUnavailable) as caught:
            await anext(stream)
    assert caught.value.retry_after_s == 1.0


async def test_nobody_there_is_a_connection_that_failed(png: bytes):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with AsyncClient("http://127.0.0.1:1", grpc=f"127.0.0.1:{port}", retries=0) as client:
        with pytest.raises(ConnectionFailed):
            await anext(client.stream(several(png)))


async def test_a_server_that_is_silent_times_out(png: bytes):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with AsyncClient("http://127.0.0.1:1", grpc=address) as client:
            with pytest.raises(TimedOut):
                await anext(client.stream(several(png), timeout_s=0.2))


async def test_closing_the_client_ends_its_streams(serving: Any, png: bytes):
    client = AsyncClient(serving.url, grpc=serving.grpc)
    stream = client.stream(forever(png), delivery="every")
    await anext(stream)
    await client.aclose()
    with pytest.raises(ConnectionFailed):
        async for _ in stream:
            pass


async def test_a_closed_client_says_so_wherever_it_is_asked(serving: Any, png: bytes):
    client = AsyncClient(serving.url, grpc=serving.grpc)

    async def frames() -> AsyncIterator[bytes]:
        yield png

    begun = client.stream(frames())
    await client.aclose()
    for ask in (lambda: anext(begun), lambda: client.detect(png), client.models):
        with pytest.raises(ConnectionFailed, match="closed"):
            await ask()
