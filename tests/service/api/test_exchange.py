"""What every answer carries, what every request leaves in the log, and what becomes of a bug."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from service.app import Service

pytestmark = pytest.mark.anyio

Post = Callable[..., Awaitable[httpx.Response]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Any]]:
    """The records that this module's subject has logged so far."""
    caplog.set_level(logging.DEBUG, "service.api.exchange")
    return lambda: [record for record in caplog.records if record.name == "service.api.exchange"]


@pytest.mark.parametrize("given", ["a b<script>", "x" * 129, "", "æ", "a\tb"])
async def test_an_unsafe_request_id_is_replaced(client: httpx.AsyncClient, given: str):
    answer = await client.get("/livez", headers={"x-request-id": given.encode()})
    assert len(answer.headers["x-request-id"]) == 32


async def test_each_request_gets_an_id_of_its_own(client: httpx.AsyncClient):
    ids = {(await client.get("/livez")).headers["x-request-id"] for _ in range(20)}
    assert len(ids) == 20


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v1/models", "/nothing", "/openapi.json"])
async def test_every_answer_tells_its_id_and_its_time(client: httpx.AsyncClient, path: str):
    answer = await client.get(path, headers={"x-request-id": "from-me"})
    assert answer.headers["x-request-id"] == "from-me"
    assert answer.headers["server-timing"].startswith("total;dur=")


async def test_a_request_leaves_one_line_with_what_a_program_reads(
    client: httpx.AsyncClient, post: Post, png: bytes, lines: Callable[[], list[Any]]
):
    await post(client, png)
    await post(client, b"")
    done, refused = lines()
    assert (done.levelname, done.status, done.error, done.key) == ("INFO", 200, None, "anonymous")
    assert (refused.status, refused.error) == (400, "malformed-request")
    assert done.duration_ms > 0
    assert done.getMessage().startswith("POST /v1/detect 200 ")
    assert refused.getMessage().endswith("ms malformed-request")


async def test_probes_are_news_only_where_they_fail(
    service: Service, client: httpx.AsyncClient, lines: Callable[[], list[Any]]
):
    await client.get("/readyz")
    service.draining = True
    await client.get("/readyz")
    service.draining = False
    assert [(record.levelname, record.status) for record in lines()] == [("DEBUG", 200), ("INFO", 503)]


async def test_a_line_break_in_a_path_stays_out_of_the_log(client: httpx.AsyncClient, lines: Callable[[], list[Any]]):
    await client.get("/v1/models/a%0aINFO%20forged")
    (record,) = lines()
    assert "\n" not in record.getMessage()
    assert "/v1/models/a%0AINFO%20forged 404" in record.getMessage()


async def test_a_bug_is_500_without_internals(
    engine_with_switch: Any, make_client: MakeClient, post: Post, png: bytes, lines: Callable[[], list[Any]]
):
    client = await make_client(engine_with_switch)
    engine_with_switch.error = ZeroDivisionError("batch of 0")
    answer = await post(client, png)
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:yolov7-service:problem:internal")
    assert not any(word in answer.text for word in ("ZeroDivision", "batch of 0", "Traceback"))
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    bug, line = lines()
    assert (bug.levelname, bug.exc_info[0], line.error) == ("ERROR", ZeroDivisionError, "internal")
    engine_with_switch.error = None
    assert (await post(client, png)).status_code == 200


async def test_a_request_that_is_cut_off_still_gets_an_answer(
    engine_with_switch: Any, make_client: MakeClient, post: Post, png: bytes, until: Any
):
    client = await make_client(engine_with_switch)
    before = engine_with_switch.batches
    engine_with_switch.gate.clear()
    request = asyncio.create_task(post(client, png))
    await until(lambda: engine_with_switch.batches > before)
    request.cancel()
    answer = await request
    engine_with_switch.gate.set()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:yolov7-service:problem:draining")
    assert "retry-after" in answer.headers


async def test_a_draining_service_ends_its_connections(service: Service, client: httpx.AsyncClient):
    assert "connection" not in (await client.get("/livez")).headers
    service.draining = True
    answer = await client.get("/livez")
    service.draining = False
    assert answer.headers["connection"] == "close"
