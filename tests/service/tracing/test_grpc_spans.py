"""What a collector is told of a call over gRPC."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from service.app import Service
from service.app.grpc import build_grpc
from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

Collector = Any

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
METHOD = "yolov7.v1.Detection/Detect"


@pytest.fixture
async def stub(collector: Collector, make_service: Callable[..., Awaitable[Service]]) -> AsyncIterator[DetectionStub]:
    server = build_grpc(await make_service(trace_endpoint=collector.url, grpc_port=0))
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield DetectionStub(channel)
    await server.stop(0)


def detect(stub: DetectionStub, data: bytes, **metadata: str) -> Any:
    given = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    return stub.Detect(pb.DetectRequest(image=pb.Image(encoded=data)), metadata=given)


async def test_a_call_has_a_span_and_one_for_each_stage(stub: DetectionStub, collector: Collector, png: bytes):
    await detect(stub, png, x_request_id="from-me.1")
    (call,) = await collector.requests(1)
    assert call.span.name == METHOD
    assert list(call.stages) == ["receive", "cache", "decode", "preprocess", "queue", "infer", "postprocess",
                                 "serialise"]  # fmt: skip
    told = {name: value for name, value in call.told.items() if name.startswith("rpc.")}
    assert told == {"rpc.system": "grpc", "rpc.service": "yolov7.v1.Detection", "rpc.method": "Detect",
                    "rpc.grpc.status_code": 0}  # fmt: skip
    assert call.told["yolov7.request_id"] == "from-me.1"


async def test_the_callers_trace_is_continued(stub: DetectionStub, collector: Collector, png: bytes):
    await detect(stub, png, traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01")
    (call,) = await collector.requests(1)
    assert (call.span.trace_id.hex(), call.span.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)


async def test_an_error_of_the_caller_is_named(stub: DetectionStub, collector: Collector):
    assert (await detect(stub, b"no picture").code()).name == "INVALID_ARGUMENT"
    (call,) = await collector.requests(1)
    assert (call.told["error.type"], call.told["rpc.grpc.status_code"]) == ("unsupported-image", 3)
