"""Whose trace an inference belongs to, however requests met in a batch and whoever started it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from service.app import Service
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import Target
from service.errors import EngineFailed
from service.settings import Settings
from service.tracing import current_traceparent
from service.vision.detections import Candidates

pytestmark = pytest.mark.anyio

Collector = Any

Encode = Callable[..., bytes]
Wait = Callable[[int], Awaitable[None]]


class CallingEngine(EmbeddedEngine):
    """The real engine, one batch at a time, which notes what a call to a server would carry; shut while `gate` is."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(EmbeddedOptions(precision="f32", streams=1, max_batch_size=4, cache_dir=cache_dir))
        self.gate = asyncio.Event()
        self.gate.set()
        self.errors: list[Exception | None] = []
        self.carried: list[str | None] = []

    @property
    def parallelism(self) -> int:
        return 1

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        self.carried.append(current_traceparent())
        await self.gate.wait()
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return await super().infer(target, images, deadline=deadline)


@pytest.fixture
async def engine(make_settings: Callable[..., Settings]) -> CallingEngine:
    return CallingEngine(make_settings().openvino_cache_dir)


@pytest.fixture
async def traced_service(
    engine: CallingEngine, collector: Collector, make_service: Callable[..., Awaitable[Service]]
) -> AsyncIterator[Service]:
    service = await make_service(engine=engine, trace_endpoint=collector.url)
    yield service
    assert not service.tracer._waiting


@pytest.fixture
def client(traced_service: Service, connect: Any) -> httpx.AsyncClient:
    return connect(traced_service)


@pytest.fixture
def queued(traced_service: Service, until: Callable[..., Awaitable[None]]) -> Callable[[int], Awaitable[None]]:
    """Waits until so many pictures are in the queue."""
    value = traced_service.metrics.registry.get_sample_value
    return lambda count: until(lambda: value("yolov7_queue_length") == count)


@pytest.fixture
def joined(traced_service: Service, until: Callable[..., Awaitable[None]]) -> Callable[[int], Awaitable[None]]:
    """Waits until so many wait for one inference."""
    flights = traced_service.detector._source._flights._flights
    return lambda count: until(lambda: [flight.waiters for flight in flights.values()] == [count])


@pytest.fixture
def pictures(encode: Encode) -> list[bytes]:
    """Of one size, and no two alike."""
    return [encode(np.full((128, 128, 3), shade, np.uint8)) for shade in range(8)]


def detect(client: httpx.AsyncClient, data: bytes, number: int, flags: str = "01", **headers: str) -> asyncio.Task[Any]:
    """A request whose trace is `number`; with the flags 00 it is not sampled."""
    given = {"content-type": "image/png", "traceparent": f"00-{number:032x}-{1:016x}-{flags}"} | headers
    return asyncio.ensure_future(client.post("/v1/detect", content=data, headers=given))


def carries(span: Any) -> str:
    return f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"


async def test_a_call_carries_the_inference_of_its_request(
    client: httpx.AsyncClient, engine: CallingEngine, collector: Collector, pictures: list[bytes]
):
    await detect(client, pictures[0], 7)
    (request,) = await collector.requests(1)
    assert engine.carried[-1] == carries(request.stages["infer"])
    assert current_traceparent() is None


async def test_known_images_and_what_is_not_sampled_are_called_without(
    client: httpx.AsyncClient, engine: CallingEngine, pictures: list[bytes]
):
    assert set(engine.carried) == {None}
    await detect(client, pictures[0], 7, "00")
    assert set(engine.carried) == {None}


async def test_the_end_of_another_batch_lends_its_context_to_no_one(
    client: httpx.AsyncClient,
    engine: CallingEngine,
    collector: Collector,
    pictures: list[bytes],
    until: Callable[..., Awaitable[None]],
    queued: Wait,
):
    engine.carried.clear()
    engine.gate.clear()
    first = detect(client, pictures[0], 1)
    await until(lambda: bool(engine.carried))
    # Waits behind the first, whose batch starts it at its end, in the first one's context.
    second = detect(client, pictures[1], 2, "00")
    await queued(1)
    engine.gate.set()
    await asyncio.gather(first, second)
    await detect(client, pictures[2], 3)
    one, three = await collector.requests(2)
    assert engine.carried == [carries(one.stages["infer"]), None, carries(three.stages["infer"])]


async def test_a_batch_carries_its_first_traced_request_and_links_the_others(
    client: httpx.AsyncClient,
    engine: CallingEngine,
    collector: Collector,
    pictures: list[bytes],
    told: Callable[[Any], dict[str, Any]],
    until: Callable[..., Awaitable[None]],
    queued: Wait,
):
    engine.gate.clear()
    engine.carried.clear()
    requests = [detect(client, pictures[0], 1)]
    await until(lambda: bool(engine.carried))
    for number, flags in ((2, "00"), (3, "01"), (4, "01")):
        requests.append(detect(client, pictures[number], number, flags))
        await queued(number - 1)
    engine.gate.set()
    await asyncio.gather(*requests)
    _, third, fourth = await collector.requests(3)
    leading, linked = third.stages["infer"], fourth.stages["infer"]
    assert engine.carried[-1] == carries(leading)
    assert told(leading)["yolov7.batch.size"] == told(linked)["yolov7.batch.size"] == 3
    assert [link.span_id for link in linked.links] == [leading.span_id]
    assert not leading.links
    assert third.stages["queue"].end_time_unix_nano <= leading.start_time_unix_nano


async def test_a_shared_inference_is_linked_and_told_once(
    client: httpx.AsyncClient, engine: CallingEngine, collector: Collector, pictures: list[bytes], joined: Wait
):
    engine.gate.clear()
    first = detect(client, pictures[0], 1)
    await joined(1)
    second = detect(client, pictures[0], 2)
    await joined(2)
    engine.gate.set()
    await asyncio.gather(first, second)
    one, two = await collector.requests(2)
    assert two.told["yolov7.cache"] == "collapsed"
    assert list(two.stages) == ["receive", "cache", "queue", "postprocess", "serialise"]
    assert [link.span_id for link in two.stages["queue"].links] == [one.span.span_id]


async def test_a_batch_that_fails_is_told_with_each_of_its_second_runs(
    client: httpx.AsyncClient,
    engine: CallingEngine,
    collector: Collector,
    pictures: list[bytes],
    told: Callable[[Any], dict[str, Any]],
    until: Callable[..., Awaitable[None]],
    queued: Wait,
):
    engine.gate.clear()
    engine.carried.clear()
    requests = [detect(client, pictures[1], 1)]
    await until(lambda: bool(engine.carried))
    for number in (2, 3):
        requests.append(detect(client, pictures[number], number))
        await queued(number - 1)
    # The first goes alone; the other two fail together, then each goes alone, of which the second fails again.
    engine.errors = [None, EngineFailed("no"), None, EngineFailed("no")]
    engine.gate.set()
    await asyncio.gather(*requests)
    _, right, wrong = await collector.requests(3)
    unset, failed = Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR
    runs = [[span.status.code for span in each.children if span.name == "infer"] for each in (right, wrong)]
    assert runs == [[failed, unset], [failed, failed]]
    assert [each.span.status.code for each in (right, wrong)] == [unset, failed]
    assert wrong.told["error.type"] == "engine-failed"
    assert told(wrong.stages["infer"])["error.type"] == "EngineFailed"


async def test_a_deadline_that_passes_in_the_queue_shows_the_wait(
    client: httpx.AsyncClient,
    engine: CallingEngine,
    collector: Collector,
    pictures: list[bytes],
    until: Callable[..., Awaitable[None]],
):
    engine.gate.clear()
    engine.carried.clear()
    first = detect(client, pictures[0], 1)
    await until(lambda: bool(engine.carried))
    late = await detect(client, pictures[1], 2, **{"x-request-timeout-ms": "500"})
    engine.gate.set()
    await first
    _, request = await collector.requests(2)
    assert late.status_code == 504
    assert request.told["error.type"] == "deadline-exceeded"
    assert list(request.stages) == ["receive", "cache", "decode", "preprocess", "queue"]
    assert request.stages["queue"].end_time_unix_nano <= request.span.end_time_unix_nano


async def test_who_leaves_is_told_and_who_stays_is_served(
    client: httpx.AsyncClient,
    engine: CallingEngine,
    collector: Collector,
    pictures: list[bytes],
    joined: Wait,
):
    engine.gate.clear()
    leader = detect(client, pictures[0], 1)
    await joined(1)
    follower = detect(client, pictures[0], 2)
    await joined(2)
    leader.cancel()
    await collector.requests(1)
    engine.gate.set()
    assert (await follower).status_code == 200
    one, two = await collector.requests(2)
    assert one.told["http.response.status_code"] in (499, 503)
    assert [link.span_id for link in two.stages["queue"].links] == [one.span.span_id]
