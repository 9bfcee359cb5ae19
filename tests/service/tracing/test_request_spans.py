"""What a collector is told of a request: ids, stages, words, and what it is not told."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.app import Service

pytestmark = pytest.mark.anyio

Collector = Any

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WORKED = ["receive", "cache", "decode", "preprocess", "queue", "infer", "postprocess", "serialise"]


async def post(client: httpx.AsyncClient, data: bytes, query: str = "", **headers: str) -> httpx.Response:
    given = {"content-type": "image/png"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"/v1/detect{query}", content=data, headers=given)


def traceparent(flags: str = "01") -> str:
    return f"00-{TRACE_ID}-{PARENT_ID}-{flags}"


async def test_a_request_has_a_span_and_one_for_each_stage(traced: httpx.AsyncClient, collector: Collector, png: bytes):
    await post(traced, png)
    (request,) = await collector.requests(1)
    assert request.span.name == "POST /v1/detect"
    assert request.span.parent_span_id == b""
    assert list(request.stages) == WORKED
    assert {stage.trace_id for stage in request.stages.values()} == {request.span.trace_id}
    assert collector.paths[0] == "/v1/traces"
    assert collector.resources[0]["service.name"] == "yolov7-service"


async def test_stages_lie_within_the_request_one_after_the_other(
    traced: httpx.AsyncClient, collector: Collector, png: bytes
):
    answer = await post(traced, png)
    (request,) = await collector.requests(1)
    moment = request.span.start_time_unix_nano
    for stage in request.stages.values():
        # Rounding of each moment to nanoseconds, and of the doubles that they are made of.
        assert moment - 1000 <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        moment = stage.end_time_unix_nano
    assert moment <= request.span.end_time_unix_nano
    infer = request.stages["infer"]
    took_ms = (infer.end_time_unix_nano - infer.start_time_unix_nano) / 1e6
    assert took_ms == pytest.approx(answer.json()["timings_ms"]["infer"], abs=5)


async def test_the_span_says_what_was_asked_and_found(
    traced: httpx.AsyncClient, collector: Collector, png: bytes, told: Callable[[Any], dict[str, Any]]
):
    await post(traced, png, x_request_id="from-me.1")
    (request,) = await collector.requests(1)
    assert request.told == {
        "http.request.method": "POST",
        "url.path": "/v1/detect",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "test",
        "http.route": "/v1/detect",
        "http.response.status_code": 200,
        "yolov7.request_id": "from-me.1",
        "yolov7.model.name": "blocks",
        "yolov7.model.version": "1",
        "yolov7.image.width": 128,
        "yolov7.image.height": 128,
        "yolov7.cache": "miss",
    }
    model = {"yolov7.model.name": "blocks", "yolov7.model.version": "1"}
    assert told(request.stages["infer"]) == {**model, "yolov7.batch.size": 1}


async def test_the_callers_trace_is_continued(traced: httpx.AsyncClient, collector: Collector, png: bytes):
    await post(traced, png, traceparent=traceparent(), tracestate="vendor=x")
    (request,) = await collector.requests(1)
    assert request.span.trace_id.hex() == TRACE_ID
    assert request.span.parent_span_id.hex() == PARENT_ID
    assert request.span.trace_state == "vendor=x"
    assert request.stages["infer"].trace_id.hex() == TRACE_ID


async def test_what_the_caller_does_not_sample_is_not_told(traced: httpx.AsyncClient, collector: Collector, png: bytes):
    assert (await post(traced, png, traceparent=traceparent("00"))).status_code == 200
    await post(traced, png)
    (request,) = await collector.requests(1)
    assert request.span.trace_id.hex() != TRACE_ID
    assert TRACE_ID not in collector.everything()


@pytest.mark.parametrize("header", ["", "x" * 2000, "00-0-0-01", f"ff-{TRACE_ID}-{PARENT_ID}-01", "00-\xe9-1-01"])
async def test_a_traceparent_that_is_none_begins_a_trace(
    traced: httpx.AsyncClient, collector: Collector, png: bytes, header: str, caplog: pytest.LogCaptureFixture
):
    headers = [(b"content-type", b"image/png"), (b"traceparent", header.encode("latin-1"))]
    assert (await traced.post("/v1/detect", content=png, headers=headers)).status_code == 200
    (request,) = await collector.requests(1)
    assert request.span.parent_span_id == b""
    assert "traceparent" not in caplog.text


async def test_a_hit_has_no_inference(traced: httpx.AsyncClient, collector: Collector, png: bytes):
    await post(traced, png)
    await post(traced, png)
    _, hit = await collector.requests(2)
    assert list(hit.stages) == ["receive", "cache", "postprocess", "serialise"]
    assert hit.told["yolov7.cache"] == "hit_memory"


async def test_the_look_up_in_redis_is_a_stage_too(
    collector: Collector, make_service: Callable[..., Awaitable[Service]], connect: Any, redis_server: Any, png: bytes
):
    redis = {"redis_url": redis_server().url, "cache_secret": "s", "cache_memory_bytes": 0}
    client = connect(await make_service(trace_endpoint=collector.url, **redis))
    for posted in range(1, 100):
        await post(client, png)
        request = (await collector.requests(posted))[-1]
        if request.told["yolov7.cache"] == "hit_redis":
            break
    # In memory first, then in Redis.
    assert [span.name for span in request.children].count("cache") == 2
    assert "infer" not in request.stages


async def test_an_error_of_the_caller_is_named_and_is_no_failure(
    traced: httpx.AsyncClient, collector: Collector, png: bytes
):
    await post(traced, png[:60])
    await post(traced, png, "?confidence=7")
    undecodable, option = await collector.requests(2)
    assert undecodable.told["http.response.status_code"] == 422
    assert undecodable.told["error.type"] == "undecodable-image"
    assert undecodable.told["yolov7.model.name"] == "blocks"
    assert undecodable.span.status.code == Status.STATUS_CODE_UNSET
    assert option.told["error.type"] == "invalid-option"
    assert not option.stages


async def test_unknown_paths_have_no_route_and_probes_no_span(traced: httpx.AsyncClient, collector: Collector):
    for path in ("/livez", "/readyz", "/metrics", "/nowhere/" + "x" * 500):
        await traced.get(path)
    (request,) = await collector.requests(1)
    assert request.span.name == "GET"
    assert request.told["error.type"] == "not-found"
    assert len(request.told["url.path"]) == 256
    assert "http.route" not in request.told


async def test_a_method_that_nobody_knows_is_other(traced: httpx.AsyncClient, collector: Collector):
    await traced.request("BREW", "/v1/detect")
    (request,) = await collector.requests(1)
    assert request.span.name.startswith("HTTP")
    assert request.told["http.request.method"] == "_OTHER"


async def test_no_secret_leaves(traced: httpx.AsyncClient, collector: Collector, png: bytes):
    await post(traced, png, "?confidence=0.5&token=hush-1", authorization="Bearer hush-2", cookie="hush-3")
    await collector.requests(1)
    assert "hush" not in collector.everything()


async def test_sampling_is_the_operators_choice(
    collector: Collector,
    make_service: Callable[..., Awaitable[Service]],
    connect: Any,
    png: bytes,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "eyes")
    client = connect(await make_service(trace_endpoint=f"{collector.url}/own/path"))
    await post(client, png)
    await post(client, png, traceparent=traceparent())
    (request,) = await collector.requests(1)
    assert request.span.parent_span_id.hex() == PARENT_ID
    assert request.span.kind == Span.SPAN_KIND_SERVER
    assert collector.paths == ["/own/path"]
    assert collector.resources[0]["service.name"] == "eyes"
