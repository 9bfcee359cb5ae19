"""Who may open a stream: keys, tickets and origins, and how those are answered who may not."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from service.access import Client, Keys, Tickets, new_key

pytestmark = pytest.mark.anyio

Serve = Callable[..., Awaitable[Any]]
Tokens = dict[str, str]
SECRETS = {"secret-ticket", "secret-token", "secret-key"}


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def tokens(keys_file: Path) -> Tokens:
    made = {"eye": new_key("eye", ["detect"]), "chief": new_key("chief", ["admin"])}
    keys_file.write_text("\n".join(entry for _, entry in made.values()))
    return {name: token for name, (token, _) in made.items()}


@pytest.fixture
async def guarded(serve: Serve, tokens: Tokens, keys_file: Path) -> Any:
    return await serve(keys_file=keys_file, allowed_origins="https://shop.example, http://lab.example:8080/")


async def refused(server: Any, query: str = "", **options: Any) -> tuple[int, str, httpx.Headers]:
    with pytest.raises(InvalidStatus) as caught:
        await server.connect(query, **options)
    response = caught.value.response
    document = json.loads(response.body)
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == response.status_code
    assert document["request_id"] == response.headers["x-request-id"]
    return response.status_code, document["type"].rpartition(":")[2], httpx.Headers(list(response.headers.raw_items()))


async def ask_ticket(server: Any, token: str | None) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        return await client.post("/v1/stream/ticket", headers=headers)


async def test_a_key_or_its_ticket_opens_and_without_either_it_is_401(guarded: Any, tokens: Tokens):
    status, name, headers = await refused(guarded)
    assert (status, name, headers["www-authenticate"]) == (401, "unauthenticated", 'Bearer realm="yolov7-service"')
    for header in ({"Authorization": f"Bearer {tokens['eye']}"}, {"X-API-Key": tokens["eye"]}):
        caller = await guarded.connect(additional_headers=header)
        assert (await caller.open())["type"] == "opened"
    answer = await ask_ticket(guarded, tokens["eye"])
    assert (answer.status_code, answer.json()["expires_in_s"]) == (200, 30)
    assert answer.headers["cache-control"] == "no-store"
    for _ in range(2):
        caller = await guarded.connect(f"?ticket={answer.json()['ticket']}")
        assert (await caller.open())["type"] == "opened"


async def test_a_stream_ends_with_its_key(guarded: Any, tokens: Tokens, keys_file: Path):
    caller = await guarded.connect(additional_headers={"X-API-Key": tokens["eye"]})
    await caller.open()
    await asyncio.to_thread(keys_file.write_text, new_key("other", ["detect"])[1])
    (told,), code = await caller.rest()
    assert (told["type"], told["problem"]["status"], code) == ("error", 401, 1008)
    assert told["problem"]["type"] == "urn:yolov7-service:problem:unauthenticated"


async def test_who_may_not_detect_is_403_with_a_key_and_gets_no_ticket(guarded: Any, tokens: Tokens):
    headers = {"X-API-Key": tokens["chief"]}
    assert (await refused(guarded, additional_headers=headers))[:2] == (403, "forbidden")
    assert (await ask_ticket(guarded, tokens["chief"])).status_code == 403
    assert (await ask_ticket(guarded, None)).status_code == 401


async def test_expired_forged_and_foreign_tickets_are_401(guarded: Any, keys_file: Path):
    keys, eye = Keys(keys_file, metrics=guarded.service.metrics), Client("eye", frozenset({"detect"}))
    expired = Tickets(keys, clock=lambda: 1_000_000.0).issue(eye)
    good = Tickets(keys).issue(eye)
    later = good.replace(good.split("~")[1], "99999999999")
    for ticket in (expired, later, good[:-1], good.replace("eye", "chief"), "", "nonsense"):
        assert (await refused(guarded, f"?ticket={ticket}"))[:2] == (401, "unauthenticated")
    assert (await (await guarded.connect(f"?ticket={good}")).open())["type"] == "opened"


async def test_another_process_with_the_same_keys_takes_the_ticket(
    serve: Serve, guarded: Any, tokens: Tokens, keys_file: Path
):
    other = await serve(keys_file=keys_file)
    ticket = (await ask_ticket(guarded, tokens["eye"])).json()["ticket"]
    assert (await (await other.connect(f"?ticket={ticket}")).open())["type"] == "opened"


async def test_a_service_without_keys_gives_tickets_and_needs_none(server: Any):
    answer = await ask_ticket(server, None)
    for query in ("", f"?ticket={answer.json()['ticket']}", "?ticket=anything"):
        assert (await (await server.connect(query)).open())["type"] == "opened"


@pytest.mark.parametrize(
    ("origin", "enters"),
    [
        (None, True),
        ("HTTPS://SHOP.example", True),
        ("https://shop.example:443", True),
        ("http://lab.example:8080", True),
        ("http://shop.example", False),
        ("https://shop.example.evil", False),
        ("https://lab.example:8080", False),
        ("http://{host}", False),
        ("null", False),
        ("", False),
        ("http://[", False),
        ("http://x:99999999", False),
    ],
)
async def test_of_origins_that_are_listed_only_these_enter(
    guarded: Any, tokens: Tokens, origin: str | None, enters: bool
):
    await enter(guarded, origin, enters, {"X-API-Key": tokens["eye"]})


@pytest.mark.parametrize(
    ("origin", "enters"),
    [
        (None, True),
        ("http://{host}", True),
        ("https://{host}", True),
        ("http://127.0.0.1", False),
        ("http://{host}/page", False),
        ("http://user@{host}", False),
        ("https://shop.example", False),
        ("null", False),
    ],
)
async def test_where_none_is_listed_only_own_pages_enter(server: Any, origin: str | None, enters: bool):
    await enter(server, origin, enters, {})


async def enter(server: Any, origin: str | None, enters: bool, headers: dict[str, str]) -> None:
    if origin is not None:
        headers = headers | {"Origin": origin.format(host=f"127.0.0.1:{server.port}")}
    if enters:
        assert (await (await server.connect(additional_headers=headers)).open())["type"] == "opened"
    else:
        assert (await refused(server, additional_headers=headers))[:2] == (403, "forbidden")


async def test_a_foreign_origin_is_counted(server: Any, sample: Any):
    before = sample(server.service, "rejected_total", reason="origin")
    await refused(server, additional_headers={"Origin": "https://shop.example"})
    assert sample(server.service, "rejected_total", reason="origin") == before + 1


async def test_other_paths_are_404_and_a_plain_get_is_426(server: Any):
    with pytest.raises(InvalidStatus) as caught:
        await server.connect(path="/v1/other")
    assert (caught.value.response.status_code, json.loads(caught.value.response.body)["status"]) == (404, 404)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        answer = await client.get("/v1/stream")
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        assert answer.json()["type"] == "urn:yolov7-service:problem:upgrade-required"
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert "WebSocket" in paths["/v1/stream"]["get"]["description"]
    assert "post" in paths["/v1/stream/ticket"]


async def test_who_refuses_before_the_upgrade_says_so_while_draining(serve: Serve):
    server = await serve()
    server.service.draining = True
    status, name, headers = await refused(server)
    assert (status, name, headers["retry-after"]) == (503, "draining", "1")


async def test_connections_that_open_no_stream_are_no_more_than_so_many(server: Any, until: Any, sample: Any):
    before = sample(server.service, "rejected_total", reason="streams")
    idle = [await server.connect() for _ in range(64)]
    assert (await refused(server))[:2] == (503, "overloaded")
    assert sample(server.service, "rejected_total", reason="streams") == before + 1
    assert (await idle[0].open())["type"] == "opened"
    assert (await (await server.connect()).open())["type"] == "opened"
    for caller in idle:
        await caller.connection.close()


async def test_no_ticket_and_no_key_is_in_any_log(guarded: Any, caplog: pytest.LogCaptureFixture, until: Any):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets.client").setLevel(logging.CRITICAL)
    headers = {"X-API-Key": "secret-key", "Authorization": "Bearer secret-token"}
    await refused(guarded, "?ticket=secret-ticket", additional_headers=headers)
    await refused(guarded, "?ticket=secret-ticket")
    ticket = Tickets(guarded.service.keys).issue(Client("eye", frozenset({"detect"})))
    caller = await guarded.connect(f"?ticket={ticket}")
    await caller.open(name="door")
    await caller.end()
    await until(lambda: "WebSocket /v1/stream 1000" in caplog.text)
    assert "WebSocket /v1/stream 401" in caplog.text
    told = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert not [secret for secret in (*SECRETS, ticket, ticket.rpartition("~")[2]) if secret in told]
