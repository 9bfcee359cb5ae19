"""The cache as a client sees it: Cache-Control in, Cache-Status out, and the same answer whichever way it came."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import Service

pytestmark = pytest.mark.anyio

Post = Callable[..., Awaitable[httpx.Response]]
Encode = Callable[..., bytes]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
MakeService = Callable[..., Awaitable[Service]]
HIT, MISS = "yolov7-service; hit; detail=memory", "yolov7-service; fwd=miss; stored"
COLLAPSED, REFRESH, BYPASS = (f"yolov7-service; fwd={why}" for why in ("miss; collapsed", "request; stored", "bypass"))


def noise(encode: Encode, seed: int) -> bytes:
    """A picture that no other test has."""
    return encode(np.random.default_rng(seed).integers(0, 256, (96, 112, 3), np.uint8))


def cached(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["cache-status"]


def detections(answer: httpx.Response) -> bytes:
    """As they were written, digit by digit."""
    return answer.content.partition(b'"detections":')[2].partition(b',"timings_ms"')[0]


@pytest.mark.parametrize("query", ["", "?confidence=0.9", "?classes=blue", "?iou=0.1", "?max_detections=1"])
async def test_another_threshold_is_a_hit(client: httpx.AsyncClient, post: Post, encode: Encode, query: str):
    data = noise(encode, 1 + len(query))
    assert cached(await post(client, data)) == MISS
    assert cached(await post(client, data, query)) == HIT


async def test_each_way_of_sending_a_picture_is_the_same_picture(client: httpx.AsyncClient, post: Post, encode: Encode):
    data = noise(encode, 2)
    assert cached(await post(client, data)) == MISS
    assert cached(await client.post("/v1/detect", files={"image": data})) == HIT
    assert cached(await post(client, data, accept="image/png")) == HIT


@pytest.mark.parametrize(
    "query",
    ["", "?confidence=0.001&max_detections=1000", "?confidence=0.3&multi_label=true&iou=0.9", "?classes=red,blue"],
)
async def test_a_cached_answer_equals_the_one_computed(
    client: httpx.AsyncClient, post: Post, encode: Encode, query: str
):
    for seed in range(10, 15):
        data = noise(encode, seed)
        computed = await post(client, data, query, cache_control="no-store")
        await post(client, data)
        found = await post(client, data, query)
        assert (cached(computed), cached(found)) == (BYPASS, HIT)
        assert detections(found) == detections(computed) != b""
        assert found.json()["image"] == computed.json()["image"]


async def test_no_store_neither_reads_nor_writes(client: httpx.AsyncClient, post: Post, encode: Encode):
    data = noise(encode, 3)
    assert cached(await post(client, data, cache_control="no-store")) == BYPASS
    assert cached(await post(client, data)) == MISS
    assert cached(await post(client, data, cache_control="no-store")) == BYPASS


async def test_no_cache_infers_anew_and_keeps_the_answer(client: httpx.AsyncClient, post: Post, encode: Encode):
    data = noise(encode, 4)
    assert cached(await post(client, data, cache_control="no-cache")) == REFRESH
    assert cached(await post(client, data)) == HIT
    assert cached(await post(client, data, cache_control="max-age=0")) == REFRESH


async def test_of_several_cache_control_fields_all_count(client: httpx.AsyncClient, encode: Encode):
    fields = [("content-type", "image/png"), ("cache-control", "no-cache"), ("cache-control", "no-store")]
    answer = await client.post("/v1/detect", content=noise(encode, 5), headers=fields)
    assert cached(answer) == BYPASS


async def test_identical_requests_at_once_share_one_inference(
    engine_with_switch: Any, make_service: MakeService, connect: Connect, post: Post, encode: Encode, until: Any
):
    service = await make_service(engine_with_switch)
    client = await connect(service)
    engine_with_switch.gate.clear()
    before = engine_with_switch.batches
    first = asyncio.create_task(post(client, noise(encode, 6)))
    await until(lambda: engine_with_switch.batches > before)
    second = asyncio.create_task(post(client, noise(encode, 6), "?confidence=0.9"))
    await until(lambda: service.metrics.registry.get_sample_value("yolov7_requests_in_flight") == 2)
    await asyncio.sleep(0)
    engine_with_switch.gate.set()
    assert [cached(await task) for task in (first, second)] == [MISS, COLLAPSED]
    assert engine_with_switch.batches == before + 1


async def test_a_service_without_a_cache_says_so(make_service: MakeService, connect: Connect, post: Post, png: bytes):
    client = await connect(await make_service(cache_memory_bytes=0))
    assert [cached(await post(client, png)) for _ in range(2)] == [BYPASS, BYPASS]


async def test_replicas_share_what_they_found(
    make_service: MakeService, connect: Connect, post: Post, png: bytes, redis_server: Any, until: Any
):
    shared = {"redis_url": redis_server().url, "cache_secret": "of all replicas", "cache_memory_bytes": 0}
    here, there = [await connect(await make_service(**shared)) for _ in range(2)]
    computed = await post(here, png)
    assert cached(computed) == MISS
    # Writing to Redis is no part of the request, so the hit may come a moment later.
    for _ in range(100):
        found = await post(there, png)
        if cached(found) != MISS:
            break
    assert cached(found) == "yolov7-service; hit; detail=redis"
    assert detections(found) == detections(computed)
