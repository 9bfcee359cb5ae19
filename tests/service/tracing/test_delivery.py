"""What happens while the collector is away or slow: nothing, and the log says so once."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from service.app import Service
from service.tracing.delivery import Delivery

Collector = Any
SPANS: Sequence[ReadableSpan] = [TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("one")]
LOST, DELIVERED = SpanExportResult.FAILURE, SpanExportResult.SUCCESS


@pytest.mark.anyio
async def test_requests_are_answered_without_a_collector(
    nobody: str, make_service: Callable[..., Awaitable[Service]], connect: Any, png: bytes
):
    client = connect(await make_service(trace_endpoint=nobody))
    for _ in range(3):
        answer = await client.post("/v1/detect", content=png, headers={"content-type": "image/png"})
        assert answer.status_code == 200


@pytest.mark.anyio
async def test_what_is_left_is_delivered_at_the_end(
    collector: Collector,
    make_service: Callable[..., Awaitable[Service]],
    connect: Any,
    png: bytes,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    service = await make_service(trace_endpoint=collector.url)
    await connect(service).post("/v1/detect", content=png, headers={"content-type": "image/png"})
    assert service.tracer is not None
    await service.tracer.aclose()
    await asyncio.wait_for(collector.requests(1), 1)


def test_the_log_hears_once_of_the_loss_and_once_of_the_return(collector: Collector, caplog: pytest.LogCaptureFixture):
    delivery = Delivery(collector.url.replace("http://", "http://user:hush@") + "/v1/traces")
    collector.status = 400
    assert [delivery.export(SPANS) for _ in range(3)] == [LOST] * 3
    collector.status = 200
    assert [delivery.export(SPANS) for _ in range(3)] == [DELIVERED] * 3
    delivery.shutdown()
    lost, back = (record.getMessage() for record in caplog.records if record.name == "service.tracing.delivery")
    assert lost == f"traces are not taken by {collector.url}/v1/traces; requests go on without them"
    assert back.endswith("again; 3 spans were lost")


def test_a_collector_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        delivery = Delivery(f"http://127.0.0.1:{silent.getsockname()[1]}", export_s=0.2)
        started_at = time.monotonic()
        assert delivery.export(SPANS) is LOST
        delivery.closing()
        assert delivery.export(SPANS) is LOST
        assert time.monotonic() - started_at < 2
        delivery.shutdown()


def test_at_the_end_nobody_waits_for_a_collector_that_is_away(nobody: str):
    delivery = Delivery(nobody, export_s=0.3)
    assert delivery.export(SPANS) is LOST
    delivery.closing()
    started_at = time.monotonic()
    assert delivery.export(SPANS) is LOST
    assert time.monotonic() - started_at < 0.1
    delivery.shutdown()
