"""Keys in a form, and what DeepStack's door costs and tells where there is no key, no time or no room."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access import new_key
from service.api.deepstack import MOST_STRANGERS
from service.app import Service, build_application
from service.errors import EngineFailed

pytestmark = pytest.mark.anyio

DETECTION = "/v1/vision/detection"
FORM = {"content-type": "multipart/form-data; boundary=x"}
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]
MakeService = Callable[..., Awaitable[Service]]
Keys = dict[str, str]


async def ask(client: httpx.AsyncClient, image: bytes, headers: Any = None, **fields: str) -> httpx.Response:
    return await client.post(DETECTION, files={"image": image}, data=fields, headers=headers)


def assert_refused(answer: httpx.Response, status: int) -> None:
    document = answer.json()
    assert answer.status_code == status, document
    assert set(document) == {"success", "error", "duration", "code"}
    assert (document["success"], document["duration"], document["code"]) == (False, 0, status)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def keys(keys_file: Path) -> Keys:
    made = {
        "eye": new_key("eye", ["detect"]),
        "chief": new_key("chief", ["admin"]),
        "slow": new_key("slow", ["detect"], "1/hour"),
    }
    keys_file.write_text("\n".join(entry for _, entry in made.values()))
    return {name: token for name, (token, _) in made.items()}


@pytest.fixture
async def guarded(make_client: MakeClient, keys: Keys, keys_file: Path) -> httpx.AsyncClient:
    return await make_client(keys_file=keys_file)


async def test_the_key_comes_in_the_form_or_by_either_header(guarded: httpx.AsyncClient, keys: Keys, png: bytes):
    bearer = {"authorization": f"Bearer {keys['eye']}"}
    for answer in (
        await ask(guarded, png, api_key=keys["eye"]),
        await ask(guarded, png, headers={"x-api-key": keys["eye"]}, api_key=""),
        await ask(guarded, png, headers=bearer, api_key="another's"),
        await ask(guarded, png, headers={"authorization": "Basic eDp5"}, api_key=keys["eye"]),
    ):
        assert (answer.status_code, answer.json()["count"]) == (200, 2)


async def test_no_key_and_a_wrong_key_are_401_before_anything_is_decoded(
    guarded: httpx.AsyncClient, keys: Keys, png: bytes
):
    for fields in ({}, {"api_key": ""}, {"api_key": "y7_wrong"}, {"api_key": "x" * 9999}, {"api_key": "ключ"}):
        answer = await ask(guarded, b"no picture, which nobody finds out", **fields)
        assert_refused(answer, 401)
        assert "www-authenticate" in answer.headers
        assert not fields.get("api_key") or fields["api_key"] not in answer.text
    assert_refused(await ask(guarded, png, headers={"x-api-key": "two words"}, api_key=keys["eye"]), 401)
    assert 'yolov7_rejected_total{reason="unauthenticated"} 6.0' in (await guarded.get("/metrics")).text


async def test_a_key_without_the_right_is_403(guarded: httpx.AsyncClient, keys: Keys, png: bytes):
    assert_refused(await ask(guarded, png, api_key=keys["chief"]), 403)


async def test_over_its_rate_a_key_is_429(guarded: httpx.AsyncClient, keys: Keys, png: bytes):
    first = await ask(guarded, png, api_key=keys["slow"])
    assert (first.status_code, first.headers["ratelimit-remaining"]) == (200, "0")
    answer = await ask(guarded, png, api_key=keys["slow"])
    assert_refused(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    assert (await ask(guarded, png, api_key=keys["eye"])).status_code == 200


async def test_a_service_without_keys_asks_for_none(client: httpx.AsyncClient, png: bytes):
    assert (await ask(client, png, api_key="left over from another server")).status_code == 200


async def test_a_wrong_key_in_a_header_is_refused_before_the_body(guarded: httpx.AsyncClient):
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = FORM | {"x-api-key": "y7_wrong"}
    assert_refused(await guarded.post(DETECTION, content=unread(), headers=headers), 401)


async def test_a_strangers_body_is_bounded_in_size_and_time(make_client: MakeClient, keys: Keys, keys_file: Path):
    async def stalling() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await asyncio.Event().wait()

    client = await make_client(keys_file=keys_file, max_body_bytes=5000, body_timeout_s=0.05)
    large = await ask(client, bytes(6000), api_key=keys["eye"])
    assert_refused(large, 413)
    assert large.headers["connection"] == "close"
    assert_refused(await client.post(DETECTION, content=stalling(), headers=FORM), 408)


async def test_strangers_are_bounded_in_number_and_take_no_place(
    make_service: MakeService, connect: Connect, keys: Keys, keys_file: Path, png: bytes, sample: Any
):
    sending, enough = asyncio.Semaphore(0), asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        sending.release()
        await enough.wait()
        yield b"--x--\r\n"

    service = await make_service(keys_file=keys_file, max_in_flight=1)
    client = await connect(service)
    held = [
        asyncio.create_task(client.post(DETECTION, content=stalling(), headers=FORM)) for _ in range(MOST_STRANGERS)
    ]
    for _ in held:
        await sending.acquire()
    assert sample(service, "requests_in_flight") == 0
    refused = await ask(client, png, api_key=keys["eye"])
    assert_refused(refused, 503)
    assert "retry-after" in refused.headers
    assert (await ask(client, png, headers={"x-api-key": keys["eye"]})).status_code == 200
    enough.set()
    assert {(await task).status_code for task in held} == {400}
    assert (await ask(client, png, api_key=keys["eye"])).status_code == 200


async def test_a_full_service_is_503_at_once(
    engine_with_switch: Any, make_service: MakeService, connect: Connect, png: bytes, until: Any, sample: Any
):
    service = await make_service(engine_with_switch, max_in_flight=1)
    client = await connect(service)
    engine_with_switch.gate.clear()
    taken = asyncio.create_task(ask(client, png))
    await until(lambda: sample(service, "requests_in_flight") == 1)
    refused = await ask(client, png)
    engine_with_switch.gate.set()
    assert_refused(refused, 503)
    assert int(refused.headers["retry-after"]) >= 1
    assert (await taken).status_code == 200


async def test_a_missed_deadline_is_504_and_a_failed_engine_503(
    engine_with_switch: Any, make_client: MakeClient, png: bytes
):
    client = await make_client(engine_with_switch)
    engine_with_switch.gate.clear()
    late = await ask(client, png, headers={"x-request-timeout-ms": "500"})
    engine_with_switch.gate.set()
    assert_refused(late, 504)
    engine_with_switch.error = EngineFailed("it cannot")
    assert_refused(await ask(client, png, headers={"cache-control": "no-store"}), 503)


async def test_a_service_that_shuts_down_is_503(make_service: MakeService, connect: Connect, png: bytes):
    service = await make_service()
    client = await connect(service)
    service.draining = True
    assert (await ask(client, png)).headers["connection"] == "close"
    await service.batcher.aclose()
    answer = await ask(client, png, headers={"cache-control": "no-store"})
    assert_refused(answer, 503)
    assert "retry-after" in answer.headers


async def test_the_work_for_a_client_that_leaves_is_cancelled(
    engine_with_switch: Any, make_service: MakeService, png: bytes, until: Any, sample: Any
):
    service = await make_service(engine_with_switch)
    request = httpx.Request("POST", f"http://test{DETECTION}", files={"image": png})
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": request.read()})
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": DETECTION, "raw_path": DETECTION.encode(), "query_string": b"", "root_path": ""}
    scope |= {"headers": headers, "client": ("127.0.0.1", 1), "server": ("test", 80)}
    before = engine_with_switch.batches
    engine_with_switch.gate.clear()
    api = asyncio.create_task(build_application(service)(scope, messages.get, nobody_hears))
    await until(lambda: engine_with_switch.batches > before)
    messages.put_nowait({"type": "http.disconnect"})
    await api
    engine_with_switch.gate.set()
    assert sample(service, "requests_in_flight") == 0
    assert sample(service, "requests_total", transport="http", route=DETECTION, code="499") == 1


async def nobody_hears(message: Any) -> None:
    """The sending half of a connection that is gone."""
