"""docs/reference/api.md beside real answers: their fields, their statuses and their headers are those of the page."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from service.access import new_key

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "reference" / "api.md").read_text(encoding="utf-8")
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]
Post = Callable[..., Awaitable[httpx.Response]]


def section(heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def names(heading: str) -> list[str]:
    """What stands as code in the first column below a heading."""
    return re.findall(r"^\| `([^`]+)` \|", section(heading), re.MULTILINE)


def answered(heading: str) -> str:
    """The object that a route answers, by the page."""
    return re.findall(r"^\| 200 \| `application/json` \| \[(\w+)\]", section(heading), re.MULTILINE)[0]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/{name}", "/livez", "/readyz"])
async def test_what_a_route_answers_has_the_fields_of_the_page(client: httpx.AsyncClient, path: str):
    answer = await client.get(path.format(name="blocks"))
    assert list(answer.json()) == names(answered(f"GET {path}"))


async def test_a_detection_and_a_problem_have_the_fields_of_the_page(client: httpx.AsyncClient, post: Post, png: bytes):
    found = (await post(client, png)).json()
    assert list(found) == names("DetectAnswer")
    assert list(found["detections"][0]) == names("Detection")
    assert list(found["detections"][0]["box"]) == names("Box")
    assert list((await post(client, png, "?iou=7")).json()) == names("ProblemAnswer")


async def test_deepstacks_protocol_has_the_fields_of_the_page(client: httpx.AsyncClient, png: bytes):
    found = (await client.post("/v1/vision/detection", files={"image": png})).json()
    assert list(found) == names(answered("POST /v1/vision/detection"))
    assert list(found["predictions"][0]) == names("Prediction")
    assert list((await client.post("/v1/vision/detection", json={})).json()) == names("VisionError")


async def test_a_ticket_has_the_fields_of_the_page(client: httpx.AsyncClient):
    answer = await client.post("/v1/stream/ticket")
    assert list(answer.json()) == names("TicketAnswer")


async def test_answers_have_the_headers_of_the_page_and_no_others(
    make_client: MakeClient, post: Post, png: bytes, tmp_path: Path
):
    token, entry = new_key("door", ["detect"], "1/hour")
    (tmp_path / "keys.toml").write_text(entry)
    client = await make_client(keys_file=tmp_path / "keys.toml")
    bearer = {"authorization": f"Bearer {token}"}
    answers = [
        await post(client, png),
        await post(client, png, **bearer),
        await post(client, png, **bearer),
        await client.get("/v1/detect"),
    ]
    assert [answer.status_code for answer in answers] == [401, 200, 429, 405]
    seen = {name.lower() for answer in answers for name in answer.headers} - {"content-length", "content-type"}
    assert seen == {name.lower() for name in names("Headers of answers")} - {"connection"}


async def test_the_headers_of_requests_are_heard(client: httpx.AsyncClient, post: Post, png: bytes):
    assert (await post(client, png, x_request_id="mine")).headers["x-request-id"] == "mine"
    assert (await post(client, png, x_request_timeout_ms="soon")).status_code == 422
    assert (await post(client, png, accept="image/webp")).headers["content-type"] == "image/webp"
    assert (await post(client, png, cache_control="no-store")).headers["cache-status"].endswith("fwd=bypass")


@pytest.mark.parametrize("path", ["/nothing", "/v1/stream", "/v1/models/unicorns"])
async def test_what_is_refused_is_among_the_problems_of_the_page(client: httpx.AsyncClient, path: str):
    answer = await client.get(path)
    name = answer.json()["type"].rsplit(":", 1)[-1]
    assert re.search(
        rf"^\| {answer.status_code} \| `{name}` \| {answer.json()['title']} \|", section("Errors"), re.MULTILINE
    )
