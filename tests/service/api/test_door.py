"""Keys and rates as a client meets them: 401, 403, 429, and what the answers tell of the rate."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access import new_key
from service.app import Service

pytestmark = pytest.mark.anyio

Post = Callable[..., Awaitable[httpx.Response]]
Connect = Callable[..., Awaitable[httpx.AsyncClient]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]
MakeService = Callable[..., Awaitable[Service]]
Keys = dict[str, str]


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.toml"


@pytest.fixture(scope="module")
def keys(keys_file: Path) -> Keys:
    """Tokens by name: `eye` may detect, `chief` may change models, `both` both, `slow` detects twice an hour."""
    made = {
        "eye": new_key("eye", ["detect"]),
        "chief": new_key("chief", ["admin"]),
        "both": new_key("both", ["detect", "admin"]),
        "slow": new_key("slow", ["detect"], "2/hour"),
    }
    keys_file.write_text("\n".join(entry for _, entry in made.values()))
    return {name: token for name, (token, _) in made.items()}


@pytest.fixture
async def guarded(make_client: MakeClient, keys: Keys, keys_file: Path) -> httpx.AsyncClient:
    return await make_client(keys_file=keys_file, rate="100/hour")


async def test_without_a_key_401_names_the_scheme(guarded: httpx.AsyncClient, post: Post, png: bytes):
    answer = await post(guarded, png)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="yolov7-service"')
    assert answer.json()["type"] == "urn:yolov7-service:problem:unauthenticated"
    assert "X-API-Key" in answer.json()["detail"]


@pytest.mark.parametrize("token", ["y7_unknown", "", "two words", "y7_" + "x" * 500])
async def test_a_token_that_is_none_of_ours_is_401_and_not_repeated(
    guarded: httpx.AsyncClient, post: Post, png: bytes, token: str
):
    for headers in ({"authorization": f"Bearer {token}"}, {"x_api_key": token}):
        answer = await post(guarded, png, **headers)
        assert answer.status_code == 401
        assert not token or token not in answer.text


@pytest.mark.parametrize(("header", "form"), [("x_api_key", "{}"), ("authorization", "Bearer {}")])
async def test_a_key_comes_by_either_header(
    guarded: httpx.AsyncClient, post: Post, png: bytes, keys: Keys, header: str, form: str
):
    assert (await post(guarded, png, **{header: form.format(keys["eye"])})).status_code == 200


async def test_the_key_is_asked_for_before_the_body(guarded: httpx.AsyncClient):
    async def unread() -> Any:
        raise AssertionError("the body was read")
        yield b""

    answer = await guarded.post("/v1/detect", content=unread(), headers={"content-type": "image/png"})
    assert answer.status_code == 401


async def test_a_key_without_the_right_is_403(guarded: httpx.AsyncClient, post: Post, png: bytes, keys: Keys):
    detecting = await post(guarded, png, x_api_key=keys["chief"])
    changing = await guarded.post("/v1/models/blocks/load", headers={"x-api-key": keys["eye"]})
    assert (detecting.status_code, changing.status_code) == (403, 403)
    assert detecting.json()["detail"] == "the key 'chief' lacks the right 'detect'"
    assert changing.json()["detail"] == "the key 'eye' lacks the right 'admin'"


@pytest.mark.parametrize("change", ["load", "promote?version=1", "unload?version=1"])
async def test_models_change_only_for_admin(guarded: httpx.AsyncClient, keys: Keys, change: str):
    path = f"/v1/models/blocks/{change}"
    assert (await guarded.post(path)).status_code == 401
    assert (await guarded.post(path, headers={"x-api-key": keys["eye"]})).status_code == 403
    allowed = await guarded.post(path, headers={"x-api-key": keys["both"]})
    assert allowed.status_code in (200, 409), allowed.text


async def test_at_a_service_without_keys_nobody_changes_models(client: httpx.AsyncClient):
    answer = await client.post("/v1/models/blocks/unload?version=1")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:yolov7-service:problem:forbidden")


async def test_each_answer_tells_what_is_left_of_the_rate(
    guarded: httpx.AsyncClient, post: Post, png: bytes, keys: Keys
):
    for left in ("99", "98"):
        headers = (await post(guarded, png, x_api_key=keys["eye"])).headers
        assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("100", left)
        assert headers["ratelimit-policy"] == "100;w=3600"
        assert 1 <= int(headers["ratelimit-reset"]) <= 3600


async def test_over_its_rate_a_key_is_429_and_no_other_is(
    guarded: httpx.AsyncClient, post: Post, png: bytes, keys: Keys
):
    answers = [await post(guarded, png, x_api_key=keys["slow"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    headers = answers[-1].headers
    assert headers["retry-after"] == headers["ratelimit-reset"]
    assert 1 <= int(headers["retry-after"]) <= 3600
    rate = [headers[f"ratelimit-{name}"] for name in ("limit", "remaining", "policy")]
    assert rate == ["2", "0", "2;w=3600"]
    assert answers[-1].json()["type"] == "urn:yolov7-service:problem:rate-limited"
    assert (await post(guarded, png, x_api_key=keys["eye"])).status_code == 200


async def test_without_keys_each_address_has_its_own_rate(
    make_service: MakeService, connect: Connect, post: Post, png: bytes
):
    service = await make_service(anonymous_rate="1/hour")
    here, there = await connect(service, "192.0.2.1"), await connect(service, "192.0.2.2")
    answers = [await post(client, png) for client in (here, here, there)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert "retry-after" in answers[1].headers


async def test_without_a_rate_none_is_told(client: httpx.AsyncClient, post: Post, png: bytes):
    assert not [name for name in (await post(client, png)).headers if name.startswith("ratelimit")]


async def test_refusals_are_counted(guarded: httpx.AsyncClient, post: Post, png: bytes, keys: Keys):
    await post(guarded, png)
    await post(guarded, png, x_api_key=keys["chief"])
    for _ in range(3):
        await post(guarded, png, x_api_key=keys["slow"])
    text = (await guarded.get("/metrics")).text
    for reason in ("unauthenticated", "forbidden", "rate"):
        assert f'yolov7_rejected_total{{reason="{reason}"}} 1.0' in text


async def test_the_log_line_names_the_key_and_never_the_token(
    guarded: httpx.AsyncClient, post: Post, png: bytes, keys: Keys, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "service"):
        await post(guarded, png, x_api_key=keys["eye"])
        await post(guarded, png, x_api_key="y7_wrong")
    known, unknown = (record for record in caplog.records if record.name == "service.api.exchange")
    assert (known.key, known.status, known.error) == ("eye", 200, None)
    assert (unknown.key, unknown.status, unknown.error) == (None, 401, "unauthenticated")
    assert not any(token in caplog.text for token in (*keys.values(), "y7_wrong"))


async def test_probes_need_no_key(guarded: httpx.AsyncClient):
    for path in ("/livez", "/readyz", "/metrics", "/v1/models"):
        assert (await guarded.get(path)).status_code == 200
