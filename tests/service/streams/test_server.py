"""What the server listens on, and what it is told of calls beyond its limits."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import pytest

from service.errors import StartError
from service.streams.server import check_free, reserve_port
from service.streams.wire.detection_pb2_grpc import DetectionStub

pytestmark = pytest.mark.anyio

MakeStub = Callable[..., Awaitable[Any]]


async def test_a_port_that_is_taken_is_said_in_one_line(make_stub: MakeStub, serve_on: Any):
    stub = await make_stub()
    with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1 port {stub.port} for gRPC: Address already"):
        await serve_on(stub.service, port=stub.port)
    with pytest.raises(StartError, match=f"port {stub.port} for gRPC"):
        reserve_port("127.0.0.1", stub.port)


async def test_workers_share_a_port_that_nobody_else_can_take(make_stub: MakeStub, serve_on: Any, open_channel: Any,
                                                              request_of: Any, png: bytes):  # fmt: skip
    stub = await make_stub()
    with reserve_port("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        servers = [await serve_on(stub.service, port=port, shares_port=True) for _ in range(2)]
        assert {server.port for server in servers} == {port}
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", port))
        for _ in range(8):
            answer = await DetectionStub(open_channel(port)).Detect(request_of(png))
            assert len(answer.detections.scores) == 2


def test_two_services_do_not_share_a_port_that_neither_listens_on_yet():
    with reserve_port("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1 port {port} for gRPC: Address already"):
            reserve_port("127.0.0.1", port)
        with pytest.raises(StartError, match="Address already"):
            check_free("0.0.0.0", port)
    check_free("127.0.0.1", port)


def test_connections_that_have_just_ended_hold_no_port():
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            # Who closes first keeps the port for another minute.
            listening.accept()[0].close()
            assert client.recv(1) == b""
    reserve_port("127.0.0.1", port).close()


async def test_a_host_that_is_not_ours_is_said(make_stub: MakeStub, serve_on: Any):
    stub = await make_stub()
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1 port 0"):
        await serve_on(stub.service, host="192.0.2.1")


async def test_ipv6(make_stub: MakeStub, serve_on: Any, request_of: Any, png: bytes):
    stub = await make_stub(anonymous_rate="1/hour")
    server = await serve_on(stub.service, host="::1")
    async with grpc.aio.insecure_channel(f"[::1]:{server.port}") as channel:
        await DetectionStub(channel).Detect(request_of(png))
        # The rate counts the address, whatever the port.
        call = DetectionStub(channel).Detect(request_of(png))
        assert (await call.code()).name == "RESOURCE_EXHAUSTED"
    assert len((await stub.Detect(request_of(png))).detections.scores) == 2


async def test_a_method_that_there_is_not(make_stub: MakeStub, open_channel: Any, refused: Any):
    stub = await make_stub()
    method = open_channel(stub.port).unary_unary("/yolov7.v1.Detection/Other")
    assert (await refused(method(b""))).code == "UNIMPLEMENTED"


async def test_calls_beyond_all_limits_are_refused_as_overload(
    make_stub: MakeStub, open_channel: Any, refused: Any, request_of: Any, png: bytes, until: Any, sample: Any
):
    stub = await make_stub(max_in_flight=1, max_streams=1)
    waiting = [stub.DetectStream() for _ in range(3)]
    await until(lambda: len(stub.server._calls._running) == 3)
    beyond = await refused(DetectionStub(open_channel(stub.port)).Detect(request_of(png)))
    assert (beyond.code, beyond.reason) == ("UNAVAILABLE", "overloaded")
    assert {"RetryInfo", "RequestInfo"} <= set(beyond.details)
    assert sample(stub.service, "rejected_total", reason="calls") == 1
    for call in waiting:
        call.cancel()
    await until(lambda: not stub.server._calls._running)
    assert len((await stub.Detect(request_of(png))).detections.scores) == 2
