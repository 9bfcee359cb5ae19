"""Health and reflection over the wire."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from service.streams.guests import SHARE
from service.streams.health import MOST_CHECKS, MOST_WATCHERS
from service.streams.reflection import MOST_READERS

pytestmark = pytest.mark.anyio

MakeStub = Callable[..., Awaitable[Any]]
SERVICE = "yolov7.v1.Detection"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def stub(make_stub: MakeStub) -> Any:
    return await make_stub()


@pytest.fixture
def health(stub: Any, open_channel: Any) -> HealthStub:
    return HealthStub(open_channel(stub.port))


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_a_service_that_is_ready_is_serving(health: HealthStub, name: str):
    assert (await health.Check(HealthCheckRequest(service=name))).status == SERVING


async def test_another_service_is_not_found(health: HealthStub, refused: Any):
    assert (await refused(health.Check(HealthCheckRequest(service="other")))).code == "NOT_FOUND"
    watching = health.Watch(HealthCheckRequest(service="other"))
    assert (await watching.read()).status == HealthCheckResponse.SERVICE_UNKNOWN


async def test_health_follows_readiness_as_soon_as_it_is_told_to(stub: Any, health: HealthStub):
    watching = [health.Watch(HealthCheckRequest(service=name)) for name in ("", SERVICE)]
    assert [(await watch.read()).status for watch in watching] == [SERVING] * 2
    stub.service.draining = True
    stub.server.look()
    assert [(await watch.read()).status for watch in watching] == [NOT_SERVING] * 2
    assert (await health.Check(HealthCheckRequest())).status == NOT_SERVING
    stub.service.draining = False
    stub.server.look()
    assert [(await watch.read()).status for watch in watching] == [SERVING] * 2


async def test_readiness_is_looked_at_without_being_told(stub: Any, health: HealthStub):
    watching = health.Watch(HealthCheckRequest())
    assert (await watching.read()).status == SERVING
    stub.service.draining = True
    assert (await watching.read()).status == NOT_SERVING


async def test_readiness_that_cannot_be_told_is_not_serving_until_it_can(stub: Any, health: HealthStub):
    asked, stub.server._serving = stub.server._serving, lambda: 1 / 0
    watching = health.Watch(HealthCheckRequest())
    while (await watching.read()).status == SERVING:
        stub.server.look()
    stub.server._serving = asked
    stub.server.look()
    assert (await watching.read()).status == SERVING
    assert stub.service.metrics.errors.labels("health")._value.get() >= 1


async def test_who_leaves_takes_no_news_from_others(stub: Any, health: HealthStub, until: Any):
    staying, leaving = (health.Watch(HealthCheckRequest()) for _ in range(2))
    for watch in (staying, leaving):
        await watch.read()
    leaving.cancel()
    await until(lambda: len(stub.server._health.watchers) == 1)
    stub.service.draining = True
    stub.server.look()
    assert (await staying.read()).status == NOT_SERVING


async def test_a_stop_ends_whoever_watches(stub: Any, health: HealthStub):
    watching = health.Watch(HealthCheckRequest())
    await watching.read()
    stopping = asyncio.create_task(stub.server.stop(30))
    assert (await watching.read()).status == NOT_SERVING
    assert await watching.read() is grpc.aio.EOF
    async with asyncio.timeout(10):
        await stopping


async def test_so_many_of_an_address_may_watch(
    stub: Any, health: HealthStub, open_channel: Any, refused: Any, sample: Any, until: Any
):
    watching = [health.Watch(HealthCheckRequest()) for _ in range(MOST_WATCHERS // SHARE)]
    for watch in watching:
        await watch.read()
    before = sample(stub.service, "rejected_total", reason="health")
    beyond = await refused(HealthStub(open_channel(stub.port)).Watch(HealthCheckRequest()).read())
    assert (beyond.code, beyond.reason) == ("UNAVAILABLE", "overloaded")
    assert sample(stub.service, "rejected_total", reason="health") == before + 1
    assert (await health.Check(HealthCheckRequest())).status == SERVING
    watching[0].cancel()
    await until(lambda: len(stub.server._health.watchers) == MOST_WATCHERS // SHARE - 1)
    assert (await health.Watch(HealthCheckRequest()).read()).status == SERVING


def silent(channel: grpc.aio.Channel, method: str) -> Any:
    """A call for health whose message never comes."""
    return channel.stream_unary(f"/grpc.health.v1.Health/{method}")()


@pytest.mark.parametrize("method", ["Check", "Watch"])
async def test_a_call_whose_message_never_comes_ends(stub: Any, open_channel: Any, refused: Any, method: str):
    stub.server._health.checks.silence_s = stub.server._health.watchers.silence_s = 0.1
    ended = await refused(silent(open_channel(stub.port), method))
    assert (ended.code, ended.reason) == ("DEADLINE_EXCEEDED", "body-too-slow")


async def test_a_call_with_no_message_or_with_nonsense_is_told_so(stub: Any, open_channel: Any, refused: Any):
    channel = open_channel(stub.port)
    empty, nonsense = silent(channel, "Check"), silent(channel, "Check")
    await empty.done_writing()
    await nonsense.write(b"\xff" * 9)
    for call in (empty, nonsense):
        assert (await refused(call)).reason == "malformed-request"


async def test_calls_without_a_message_fill_up_nothing_but_their_own_places(
    stub: Any, open_channel: Any, request_of: Any, png: bytes, until: Any, refused: Any
):
    channel = open_channel(stub.port)
    calls = [silent(channel, "Check") for _ in range(MOST_CHECKS // SHARE)]
    await until(lambda: len(stub.server._health.checks) == len(calls))
    assert (await refused(HealthStub(channel).Check(HealthCheckRequest()))).code == "UNAVAILABLE"
    assert len((await stub.Detect(request_of(png))).detections.scores) == 2
    for call in calls:
        call.cancel()
    await until(lambda: not len(stub.server._health.checks))
    assert (await HealthStub(channel).Check(HealthCheckRequest())).status == SERVING


async def ask_for_services(channel: grpc.aio.Channel) -> list[str]:
    call = ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(ServerReflectionRequest(list_services=""))
    return [service.name for service in (await call.read()).list_services_response.service]


async def test_reflection_tells_the_services(stub: Any, open_channel: Any):
    names = await ask_for_services(open_channel(stub.port))
    assert {SERVICE, "grpc.health.v1.Health"} <= set(names)


async def test_reflection_can_be_switched_off(make_stub: MakeStub, open_channel: Any, refused: Any):
    stub = await make_stub(grpc_reflection=False)
    assert (await refused(ask_for_services(open_channel(stub.port)))).code == "UNIMPLEMENTED"


async def test_reflection_describes_the_messages(stub: Any, open_channel: Any):
    call = ServerReflectionStub(open_channel(stub.port)).ServerReflectionInfo()
    await call.write(ServerReflectionRequest(file_containing_symbol=SERVICE))
    assert b"DetectStream" in (await call.read()).file_descriptor_response.file_descriptor_proto[0]


async def test_who_reads_reflection_holds_up_no_stop(stub: Any, open_channel: Any):
    call = ServerReflectionStub(open_channel(stub.port)).ServerReflectionInfo()
    await call.write(ServerReflectionRequest(list_services=""))
    await call.read()
    async with asyncio.timeout(10):
        await stub.server.stop(60)


async def test_who_asks_reflection_nothing_more_is_let_go(stub: Any, open_channel: Any, refused: Any):
    stub.server._reflection.readers.silence_s = 0.1
    call = ServerReflectionStub(open_channel(stub.port)).ServerReflectionInfo()
    await call.write(ServerReflectionRequest(list_services=""))
    await call.read()
    assert (await refused(call.read())).code == "DEADLINE_EXCEEDED"


async def test_so_many_of_an_address_may_read_reflection(stub: Any, open_channel: Any, refused: Any, until: Any):
    channel = open_channel(stub.port)
    reading = [ServerReflectionStub(channel).ServerReflectionInfo() for _ in range(MOST_READERS // SHARE)]
    await until(lambda: len(stub.server._reflection.readers) == len(reading))
    assert (await refused(ask_for_services(channel))).code == "UNAVAILABLE"
    for call in reading:
        call.cancel()
    await until(lambda: not len(stub.server._reflection.readers))
    assert SERVICE in await ask_for_services(channel)
