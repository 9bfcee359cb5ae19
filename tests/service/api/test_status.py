"""Probes, the list of models, metrics, and what the router answers by itself."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from service.app import Service
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

Post = Callable[..., Awaitable[httpx.Response]]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


async def test_probes_answer(client: httpx.AsyncClient):
    assert (await client.get("/livez")).json() == {"status": "alive"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_what_is_amiss_is_told(service: Service, client: httpx.AsyncClient):
    service.draining = True
    answer = await client.get("/readyz")
    service.draining = False
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "service: shutting down"
    assert (await client.get("/livez")).status_code == 200


async def test_a_model_that_is_not_ready_is_503(service: Service, client: httpx.AsyncClient, png: bytes):
    (model,) = service.models
    model.reason = "the known image came out wrong"
    answer = await client.post("/v1/detect", content=png, headers={"content-type": "image/png"})
    listed = (await client.get("/v1/models")).json()["models"]
    model.reason = None
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (listed[0]["ready"], listed[0]["reason"]) == (False, "the known image came out wrong")


async def test_models_show_their_passport(client: httpx.AsyncClient):
    (model,) = (await client.get("/v1/models")).json()["models"]
    assert model.items() >= {
        "name": "blocks", "version": "1", "ready": True, "class_names": ["red", "green", "blue"], "precision": "f32",
        "input_shapes": [[128, 128], [64, 128]],
    }.items()  # fmt: skip
    assert model["engine"].startswith("openvino")


async def test_one_model_shows_its_versions(client: httpx.AsyncClient):
    model = (await client.get("/v1/models/blocks")).json()
    (version,) = model.pop("versions")
    assert model.pop("available") == ["1"]
    assert version == model
    assert (model["name"], model["version"], model["current"]) == ("blocks", "1", True)


async def test_an_unknown_model_is_404_and_says_which_there_are(client: httpx.AsyncClient):
    answer = await client.get("/v1/models/unicorns")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "there is blocks" in answer.json()["detail"]


async def test_a_broken_model_is_told_and_harms_no_other(
    make_client: MakeClient, post: Post, png: bytes, tmp_path: Path, write_blocks: Callable[..., ModelSpec]
):
    for name in ("blocks", "torn"):
        write_blocks(tmp_path, name)
    (tmp_path / "torn" / "1" / "model.onnx").write_bytes(b"half")
    client = await make_client(model_repository=tmp_path)
    listed = (await client.get("/v1/models")).json()
    assert ([model["name"] for model in listed["models"]], list(listed["broken"])) == (["blocks"], ["torn"])
    assert (await client.get("/readyz")).status_code == 200
    assert (await post(client, png)).status_code == 200
    for answer in (await client.get("/v1/models/torn"), await post(client, png, "?model=torn")):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "sha256" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/detect", 405), ("DELETE", "/v1/models", 405)],
)
async def test_the_routers_own_errors_are_problems(client: httpx.AsyncClient, method: str, path: str, status: int):
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert ("allow" in answer.headers) == (status == 405)


async def test_requests_stages_and_errors_are_counted(client: httpx.AsyncClient, png: bytes):
    before = await scrape(client)
    await client.post("/v1/detect", content=png, headers={"content-type": "image/png", "cache-control": "no-store"})
    await client.post("/v1/detect", content=b"", headers={"content-type": "image/png"})
    after = await scrape(client)
    for series in (
        'requests_total{code="200",route="/v1/detect",transport="http"}',
        'requests_total{code="400",route="/v1/detect",transport="http"}',
        'errors_total{kind="malformed-request"}',
        "image_pixels_count",
        "detections_per_image_count",
        "batch_size_count",
        "queue_wait_seconds_count",
        *(f'stage_duration_seconds_count{{stage="{stage}"}}' for stage in ("receive", "decode", "infer", "serialise")),
        'cache_total{result="off"}',
    ):
        assert after[series] - before.get(series, 0) == 1, series
    assert after['model_ready{model="blocks",version="1"}'] == 1
    assert after["requests_in_flight"] == 0


async def scrape(client: httpx.AsyncClient) -> dict[str, float]:
    text = (await client.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^yolov7_(\S+) (\S+)$", text, re.MULTILINE)}
