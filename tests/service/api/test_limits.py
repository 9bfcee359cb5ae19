"""What a request may cost, and what one is told that comes too large, too slowly, too late or where nothing is free."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.app import Service
from service.errors import EngineFailed, EngineNonsense

pytestmark = pytest.mark.anyio

PNG = {"content-type": "image/png"}
Post = Callable[..., Awaitable[httpx.Response]]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]
MakeService = Callable[..., Awaitable[Service]]
Held = Callable[[Service], AbstractAsyncContextManager[None]]


def animation(frames: int) -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in range(frames)]
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


async def test_bytes(make_client: MakeClient, post: Post, png: bytes):
    client = await make_client(max_body_bytes=len(png))
    assert (await post(client, png)).status_code == 200
    answer = await post(client, png + b"\0")
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


async def test_pixels(make_client: MakeClient, post: Post, png: bytes, picture: NDArray[np.uint8]):
    pixels = picture[..., 0].size
    assert (await post(await make_client(max_pixels=pixels), png)).status_code == 200
    answer = await post(await make_client(max_pixels=pixels - 1), png)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:yolov7-service:problem:image-too-large")


async def test_frames(make_client: MakeClient, post: Post):
    client = await make_client(max_frames=3)
    assert (await post(client, animation(3), content_type="image/gif")).status_code == 200
    answer = await post(client, animation(4), content_type="image/gif")
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:yolov7-service:problem:image-too-large")
    assert "3 frames" in answer.json()["detail"]


async def test_formats_that_are_switched_off(make_client: MakeClient, post: Post, png: bytes, encode: Any):
    client = await make_client(formats="jpeg, BMP")
    answer = await post(client, png)
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:yolov7-service:problem:unsupported-image")
    assert "only BMP, JPEG" in answer.json()["detail"]
    # What the bytes are counts, not what the header says.
    assert (await post(client, encode(np.zeros((8, 8, 3), np.uint8), "BMP"))).status_code == 200


async def test_a_slow_body_is_408(make_client: MakeClient, png: bytes):
    async def stalling() -> AsyncIterator[bytes]:
        yield png[:10]
        await asyncio.Event().wait()

    client = await make_client(body_timeout_s=0.05)
    answer = await client.post("/v1/detect", content=stalling(), headers=PNG)
    assert (answer.status_code, answer.json()["status"]) == (408, 408)


async def test_the_deadline_holds_while_the_body_comes(client: httpx.AsyncClient, png: bytes):
    async def stalling() -> AsyncIterator[bytes]:
        yield png[:50]
        await asyncio.Event().wait()

    headers = PNG | {"X-Request-Timeout-Ms": "500"}
    answer = await client.post("/v1/detect", content=stalling(), headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (504, "the deadline passed before the body was read")


@pytest.mark.parametrize("settings", [{"max_request_timeout_ms": 1000}, {"request_timeout_ms": 1000}])
async def test_the_default_deadline_holds(
    engine_with_switch: Any, make_client: MakeClient, post: Post, png: bytes, settings: dict[str, int]
):
    client = await make_client(engine_with_switch, **settings)
    engine_with_switch.gate.clear()
    answer = await post(client, png)
    engine_with_switch.gate.set()
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:yolov7-service:problem:deadline-exceeded")


async def test_the_deadline_holds_while_the_picture_is_drawn(
    service: Service, client: httpx.AsyncClient, post: Post, png: bytes, threads_held: Held
):
    await post(client, png)  # from here on its candidates come from the cache, without a thread
    async with threads_held(service):
        assert (await post(client, png, X_Request_Timeout_Ms="1000")).status_code == 200
        answer = await post(client, png, accept="image/png", X_Request_Timeout_Ms="1000")
    assert (answer.status_code, answer.json()["detail"]) == (504, "the deadline passed before the picture was drawn")


async def test_a_full_service_is_503_at_once(
    engine_with_switch: Any, make_service: MakeService, connect: Connect, post: Post, png: bytes, until: Any
):
    service = await make_service(engine_with_switch, max_in_flight=2)
    client = await connect(service)
    engine_with_switch.gate.clear()
    taken = [asyncio.create_task(post(client, png)) for _ in range(2)]
    await until(lambda: service.metrics.registry.get_sample_value("yolov7_requests_in_flight") == 2)
    refused = await post(client, png)
    engine_with_switch.gate.set()
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:yolov7-service:problem:overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert [(await task).status_code for task in taken] == [200, 200]


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [(EngineFailed("it cannot"), 503, "engine-failed"), (EngineNonsense("3 rows of 2"), 502, "engine-nonsense")],
)
async def test_an_engine_that_fails_says_when_to_retry(
    engine_with_switch: Any, make_client: MakeClient, post: Post, png: bytes, error: Exception, status: int, name: str
):
    client = await make_client(engine_with_switch)
    engine_with_switch.error = error
    answer = await post(client, png)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:yolov7-service:problem:{name}")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_closed_service_is_503(make_service: MakeService, connect: Connect, post: Post, png: bytes):
    service = await make_service()
    client = await connect(service)
    await service.batcher.aclose()
    answer = await post(client, png)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:yolov7-service:problem:draining")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("name", ["accept", "cache-control"])
async def test_an_absurdly_long_header_is_400(client: httpx.AsyncClient, png: bytes, name: str):
    answer = await client.post("/v1/detect", content=png, headers=PNG | {name: "a/b," * 1000})
    assert (answer.status_code, answer.json()["title"]) == (400, "Malformed request")


async def test_deadlines_that_nobody_could_keep_are_told_as_such(make_client: MakeClient, png: bytes):
    client = await make_client(worker_threads=1)
    answers = await asyncio.gather(
        *(client.post("/v1/detect", content=png, headers=PNG | {"X-Request-Timeout-Ms": "1"}) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} <= {503, 504}
