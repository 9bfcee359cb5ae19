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

from service.streams.health import MOST_WATCHERS

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


async def test_who_leaves_takes_no_news_from_others(stub: Any, health: HealthStub, until: Any):
    staying, leaving = (health.Watch(HealthCheckRequest()) for _ in range(2))
    for watch in (staying, leaving):
        await watch.read()
    leaving.cancel()
    await until(lambda: stub.server._health._watchers == 1)
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


async def test_so_many_may_watch(stub: Any, health: HealthStub, open_channel: Any):
    watching = []
    for _ in range(2):
        other = HealthStub(open_channel(stub.port))
        watching += [other.Watch(HealthCheckRequest()) for _ in range(MOST_WATCHERS // 2)]
    for watch in watching:
        await watch.read()
    beyond = health.Watch(HealthCheckRequest())
    assert await beyond.code() == grpc.StatusCode.UNAVAILABLE
    assert (await health.Check(HealthCheckRequest())).status == SERVING


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
