"""POST /v1/detect as a client sees it, served by the real engine."""

import asyncio
import base64
import io
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

PNG = {"content-type": "image/png"}
STAGES = ["receive", "decode", "preprocess", "cache", "queue", "infer", "postprocess", "serialise"]
Encode = Callable[..., bytes]
Post = Callable[..., Awaitable[httpx.Response]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


async def test_the_answer_has_the_documented_form(client: httpx.AsyncClient, post: Post, png: bytes):
    answer = await post(client, png, x_request_id="from-me.1")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert list(document) == ["model", "image", "detections", "timings_ms", "request_id"]
    assert document["model"] == {"name": "blocks", "version": "1"}
    assert document["image"] == {"width": 128, "height": 128}
    red, blue = document["detections"]
    assert red == {"label": "red", "class_id": 0, "score": 1.0, "box": {"x1": 16.0, "y1": 32.0, "x2": 24.0, "y2": 40.0}}
    assert blue["label"] == "blue"
    assert list(document["timings_ms"]) == STAGES
    assert document["request_id"] == answer.headers["x-request-id"] == "from-me.1"


async def test_scores_keep_every_digit_of_a_float32(client: httpx.AsyncClient, post: Post, png: bytes):
    answer = await post(client, png)
    text = answer.text.split('"score":')[2].split(",")[0]
    assert str(np.float32(text)) == text
    assert float(text) == pytest.approx(200 / 255, abs=1e-5)


async def test_form_raw_and_base64_answer_alike(client: httpx.AsyncClient, post: Post, png: bytes):
    raw = await post(client, png)
    form = await client.post("/v1/detect", files={"image": ("a.png", png)})
    encoded = await client.post("/v1/detect", json={"image": base64.b64encode(png).decode()})
    assert raw.json()["detections"] == form.json()["detections"] == encoded.json()["detections"] != []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
async def test_every_kind_of_png_is_taken(client: httpx.AsyncClient, post: Post, picture: NDArray[np.uint8], mode: str):
    buffer = io.BytesIO()
    grey = picture.max(axis=2)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(picture).convert(mode)
    image.save(buffer, "PNG")
    answer = await post(client, buffer.getvalue())
    assert (answer.status_code, answer.json()["image"]) == (200, {"width": 128, "height": 128})


async def test_a_turned_photo_is_answered_upright(client: httpx.AsyncClient):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100)).save(buffer, "JPEG", exif=exif)
    answer = await client.post("/v1/detect", content=buffer.getvalue(), headers={"content-type": "image/jpeg"})
    assert answer.json()["image"] == {"width": 100, "height": 200}


async def test_options_come_by_query_or_by_form(client: httpx.AsyncClient, post: Post, png: bytes):
    query = await post(client, png, "?classes=blue&confidence=0.1")
    form = await client.post("/v1/detect", files={"image": png}, data={"classes": "2", "confidence": "0.1"})
    assert [row["label"] for row in query.json()["detections"]] == ["blue"]
    assert query.json()["detections"] == form.json()["detections"]


async def test_a_body_large_enough_to_be_parsed_aside_answers_alike(
    client: httpx.AsyncClient, post: Post, encode: Encode
):
    noise = encode(np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8))
    assert len(noise) > 1 << 20
    form = await client.post("/v1/detect", files={"image": noise})
    assert form.json()["detections"] == (await post(client, noise)).json()["detections"]


@pytest.mark.parametrize(
    ("status", "query", "headers", "body"),
    [
        (400, "", {"content-type": "multipart/form-data; boundary=x"}, b"nonsense"),
        (400, "", {"content-type": "application/json"}, b'{"picture": ""}'),
        (400, "", {"content-type": "image/jpeg"}, b""),
        (404, "?model=unicorns", {}, None),
        (404, "?version=9", {}, None),
        (406, "", {"accept": "text/html, application/json;q=0"}, None),
        (406, "", {"accept": "application/json; q=0.0"}, None),
        (415, "", {"content-type": "text/plain"}, None),
        (415, "", {}, b"GIMP has its own format"),
        (422, "", {}, b"\x89PNG\r\n\x1a\n and then nothing"),
        (422, "?confidence=2", {}, None),
        (422, "?treshold=0.5", {}, None),
        (422, "?classes=purple", {}, None),
        (422, "", {"X-Request-Timeout-Ms": "soon"}, None),
        (422, "", {"X-Request-Timeout-Ms": "0"}, None),
        (422, f"?classes={'9' * 5000}", {}, None),
    ],
)
async def test_bad_requests_get_their_problem_and_harm_nothing(
    client: httpx.AsyncClient,
    post: Post,
    png: bytes,
    status: int,
    query: str,
    headers: dict[str, str],
    body: bytes | None,
):
    sent = png if body is None else body
    answer = await client.post(f"/v1/detect{query}", content=sent, headers=PNG | headers)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["instance"] == "/v1/detect"
    assert ("errors" in problem) == (status == 422)
    assert (await post(client, png)).status_code == 200


async def test_concurrent_clients_get_their_own_answers(client: httpx.AsyncClient, post: Post, encode: Encode):
    async def ask(n: int) -> bool:
        image = np.zeros((128, 128, 3), np.uint8)
        image[8 * n : 8 * n + 8, :8, n % 3] = 255
        (found,) = (await post(client, encode(image))).json()["detections"]
        return (found["class_id"], found["box"]["y1"]) == (n % 3, 8.0 * n)

    assert all(await asyncio.gather(*(ask(n % 16) for n in range(48))))


@pytest.mark.parametrize("headers", [{"X_Request_Timeout_Ms": "9" * 5000}, {"accept": ""}])
async def test_odd_headers_that_mean_no_harm_are_taken(
    client: httpx.AsyncClient, post: Post, png: bytes, headers: dict[str, str]
):
    assert (await post(client, png, **headers)).status_code == 200


@pytest.mark.parametrize(
    ("query", "headers"),
    [("", {}), ("?confidence=0.3", {}), ("", {"cache_control": "no-store"}), ("", {"accept": "image/png"})],
)
async def test_every_stage_is_named_and_they_explain_no_more_than_the_total(
    client: httpx.AsyncClient, post: Post, png: bytes, query: str, headers: dict[str, str]
):
    answer = await post(client, png, query, **headers)
    timing = re.findall(r"([a-z]+);dur=(\d+\.\d\d)(?:, |$)", answer.headers["server-timing"])
    assert [name for name, _ in timing] == [*STAGES, "total"]
    *parts, total = (float(ms) for _, ms in timing)
    assert sum(parts) <= total + 0.005 * len(timing)  # each is rounded


async def test_timings_of_body_and_header_agree(client: httpx.AsyncClient, post: Post, png: bytes):
    answer = await post(client, png)
    told = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    body = answer.json()["timings_ms"]
    for stage in STAGES[:-1]:
        assert float(told[stage]) == pytest.approx(body[stage], abs=0.006), stage
    assert body["serialise"] <= float(told["serialise"]) + 0.006


async def test_a_confidence_below_the_models_floor_is_pointed_at(
    make_client: MakeClient, post: Post, png: bytes, tmp_path: Path, write_blocks: Callable[..., ModelSpec]
):
    floored = replace(write_blocks(tmp_path), score_floor=0.05).to_json()
    (tmp_path / "blocks" / "spec.json").write_text(floored)
    client = await make_client(model_repository=tmp_path)
    assert (await post(client, png, "?confidence=0.05")).status_code == 200
    for query in ("?confidence=0.04", "?class_confidence=red:0.04"):
        refused = await post(client, png, query)
        (finding,) = refused.json()["errors"]
        assert (refused.status_code, finding["pointer"]) == (422, query.split("=")[0].replace("?", "/"))
        assert "0.05" in finding["detail"]
