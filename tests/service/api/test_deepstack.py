"""POST /v1/vision/detection as the clients of DeepStack call it, down to the bytes that Frigate's detector sends."""

import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.api.deepstack import MOST_PREDICTIONS
from service.app import Service
from service.vision.spec import ModelSpec

pytestmark = pytest.mark.anyio

DETECTION = "/v1/vision/detection"
BOUNDARY = "c814635336aa56114b7bafba5b997097"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
Encode = Callable[..., bytes]
MakeClient = Callable[..., Awaitable[httpx.AsyncClient]]


def frigate_body(jpeg: bytes) -> bytes:
    """What `requests.post(url, data={"api_key": ""}, files={"image": jpeg})` sends: no type for the image's part."""
    parts = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="api_key"\r\n\r\n\r\n'.encode(),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'.encode(),
        jpeg,
        f"\r\n--{BOUNDARY}--\r\n".encode(),
    )
    return b"".join(parts)


def frigate_reads(answer: Any, labels: dict[int, str], size: int) -> list[list[float]]:
    """The rows that Frigate makes of an answer, whatever its status; a label that it does not know ends them."""
    rows: list[list[float]] = []
    for found in answer.get("predictions") or ():
        named = [index for index, label in labels.items() if label == found["label"].lower()]
        if found["confidence"] < 0.4 or not named:
            break
        corners = [found[name] / size for name in ("y_min", "x_min", "y_max", "x_max")]
        rows.append([named[0], float(found["confidence"]), *corners])
    return rows


async def ask(
    client: httpx.AsyncClient, image: bytes, path: str = DETECTION, headers: Any = None, **fields: str
) -> httpx.Response:
    return await client.post(path, files={"image": image}, data=fields, headers=headers)


def assert_refused(answer: httpx.Response, status: int) -> None:
    document = answer.json()
    assert answer.status_code == status, document
    assert (document["success"], document["duration"], document["code"]) == (False, 0, status)
    assert document["error"]
    assert "predictions" not in document
    assert answer.headers["content-type"] == "application/json"


async def test_frigates_call_is_answered_as_frigate_reads_it(client: httpx.AsyncClient):
    frame = np.zeros((128, 128, 3), np.uint8)
    frame[32:48, 16:32, 0] = 255  # sixteen pixels, so that JPEG's colours stay within it
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="JPEG")
    answer = await client.post(DETECTION, content=frigate_body(buffer.getvalue()), headers=FORM)
    rows = frigate_reads(answer.json(), {0: "red", 1: "unknown"}, 128)
    assert [row[0] for row in rows] == [0, 0, 0, 0]
    assert {tuple(row[2:]) for row in rows} >= {(0.25, 0.125, 0.3125, 0.1875)}
    assert all(0.4 <= row[1] <= 1 for row in rows)


async def test_the_answer_has_the_protocols_form(client: httpx.AsyncClient, png: bytes):
    answer = await ask(client, png)
    document = answer.json()
    red, blue = document["predictions"]
    assert red == {"label": "red", "confidence": 1.0, "x_min": 16, "y_min": 32, "x_max": 24, "y_max": 40}
    assert (blue["label"], blue["confidence"]) == ("blue", pytest.approx(200 / 255, abs=1e-5))
    told = [document[name] for name in ("success", "count", "message", "code")]
    assert told == [True, 2, "Found red, blue", 200]
    assert isinstance(document["duration"], float)
    assert all(type(document[name]) is int for name in ("inferenceMs", "processMs", "analysisRoundTripMs"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/vision/face", 404),
        ("GET", "/v1/vision", 404),
        ("GET", DETECTION, 405),
        ("DELETE", "/v1/vision/custom/blocks", 405),
    ],
)
async def test_other_paths_and_methods_are_refused_in_the_protocols_form(
    client: httpx.AsyncClient, method: str, path: str, status: int
):
    answer = await client.request(method, path)
    assert_refused(answer, status)
    assert ("allow" in answer.headers) == (status == 405)
    assert answer.headers["x-request-id"]


async def test_a_path_that_only_begins_alike_has_the_services_form(client: httpx.AsyncClient):
    answer = await client.get("/v1/visions")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_bug_is_told_in_the_protocols_form_without_internals(
    engine_with_switch: Any, make_client: MakeClient, png: bytes
):
    client = await make_client(engine_with_switch)
    engine_with_switch.error = ZeroDivisionError("batch of 0")
    answer = await ask(client, png)
    assert_refused(answer, 500)
    assert "batch of 0" not in answer.text
    engine_with_switch.error = None


async def test_nothing_found_is_a_success(client: httpx.AsyncClient, encode: Encode):
    document = (await ask(client, encode(np.zeros((32, 32, 3), np.uint8)))).json()
    assert (document["success"], document["predictions"], document["message"]) == (True, [], "No objects found")


async def test_at_most_twenty_come_best_first(client: httpx.AsyncClient, encode: Encode):
    image = np.zeros((128, 128, 3), np.uint8)
    for n in range(30):
        y, x = divmod(n, 8)
        image[16 * y : 16 * y + 8, 16 * x : 16 * x + 8, n % 3] = 120 + 4 * n
    found = (await ask(client, encode(image))).json()["predictions"]
    scores = [row["confidence"] for row in found]
    assert len(found) == MOST_PREDICTIONS == 20
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx((120 + 4 * 29) / 255, abs=1e-5)


@pytest.mark.parametrize("size_hw", [(77, 101), (301, 200), (40, 500)])
async def test_corners_are_whole_pixels_inside_the_picture(
    client: httpx.AsyncClient, encode: Encode, size_hw: tuple[int, int]
):
    image = np.zeros((*size_hw, 3), np.uint8)
    image[..., 0] = 255
    found = (await ask(client, encode(image))).json()["predictions"]
    assert found
    for row in found:
        assert all(type(row[name]) is int for name in ("x_min", "y_min", "x_max", "y_max"))
        assert 0 <= row["x_min"] <= row["x_max"] <= size_hw[1]
        assert 0 <= row["y_min"] <= row["y_max"] <= size_hw[0]


async def test_labels_are_in_lower_case(
    make_client: MakeClient, write_blocks: Callable[..., ModelSpec], tmp_path: Path, png: bytes
):
    named = replace(write_blocks(tmp_path), class_names=("Red", "Green", "Blue")).to_json()
    (tmp_path / "blocks" / "spec.json").write_text(named)
    (tmp_path / "blocks" / "1" / "spec.json").write_text(named)
    client = await make_client(model_repository=tmp_path)
    assert (await ask(client, png)).json()["predictions"][0]["label"] == "red"


@pytest.mark.parametrize(
    ("fields", "labels"),
    [
        ({}, ["red", "blue"]),
        ({"min_confidence": ""}, ["red", "blue"]),
        ({"min_confidence": "0.9"}, ["red"]),
        ({"min_confidence": "0"}, ["red", "blue"]),
        ({"classes": "Blue"}, ["blue"]),
        ({"typos": "x", "sr": "1", "confidence": "abc", "max_detections": "-1"}, ["red", "blue"]),
    ],
)
async def test_fields_that_are_known_count_and_others_are_passed_over(
    client: httpx.AsyncClient, png: bytes, fields: dict[str, str], labels: list[str]
):
    for answer in (await ask(client, png, **fields), await client.post(DETECTION, files={"image": png}, params=fields)):
        assert [row["label"] for row in answer.json()["predictions"]] == labels


async def test_below_four_tenths_nothing_comes_unasked(client: httpx.AsyncClient, encode: Encode):
    image = np.zeros((128, 128, 3), np.uint8)
    image[:8, :8, 0], image[64:72, :8, 0] = 98, 106  # scores of 0.38 and 0.42
    assert (await ask(client, encode(image))).json()["count"] == 1
    assert (await ask(client, encode(image), min_confidence="0.3")).json()["count"] == 2


async def test_a_custom_model_is_named_by_the_path(
    make_client: MakeClient, write_blocks: Callable[..., ModelSpec], tmp_path: Path, png: bytes
):
    write_blocks(tmp_path, "blocks")
    write_blocks(tmp_path, "others")
    client = await make_client(model_repository=tmp_path)
    assert (await ask(client, png, "/v1/vision/custom/others")).json()["count"] == 2
    assert_refused(await ask(client, png, "/v1/vision/custom/unicorns"), 404)
    listed = await client.post("/v1/vision/custom/list")
    assert listed.json() == {"success": True, "models": ["blocks", "others"], "code": 200}
    text = (await client.get("/metrics")).text
    assert 'route="/v1/vision/custom/{model}"' in text
    assert "unicorns" not in text


@pytest.mark.parametrize(
    ("status", "image", "fields"),
    [
        (400, b"", {}),
        (415, b"not a picture at all", {}),
        (422, b"\x89PNG\r\n\x1a\n and then nothing", {}),
        (422, None, {"min_confidence": "1.5"}),
        (422, None, {"min_confidence": "much"}),
        (422, None, {"min_confidence": "nan"}),
        (422, None, {"classes": "purple"}),
    ],
)
async def test_bad_requests_are_refused_in_the_protocols_form(
    client: httpx.AsyncClient, png: bytes, status: int, image: bytes | None, fields: dict[str, str]
):
    refused = await ask(client, png if image is None else image, **fields)
    assert_refused(refused, status)
    assert frigate_reads(refused.json(), {0: "red"}, 128) == []


async def test_what_is_no_form_with_an_image_is_refused_in_the_protocols_form(client: httpx.AsyncClient):
    assert_refused(await client.post(DETECTION, data={"api_key": ""}), 415)
    assert_refused(await client.post(DETECTION, content=b"nonsense", headers=FORM), 400)
    assert_refused(await client.post(DETECTION, files={"picture": b"x"}), 400)


async def test_answers_have_the_headers_and_the_series_of_every_other(
    service: Service, client: httpx.AsyncClient, png: bytes, sample: Any
):
    labels = {"transport": "http", "route": DETECTION, "code": "200"}
    before = sample(service, "requests_total", **labels)
    answer = await ask(client, png, headers={"x-request-id": "from-me", "cache-control": "no-store"})
    assert answer.headers["x-request-id"] == "from-me"
    assert answer.headers["cache-status"] == "yolov7-service; fwd=bypass"
    assert "receive;dur=" in answer.headers["server-timing"]
    assert sample(service, "requests_total", **labels) == before + 1


async def test_a_picture_is_cached_for_both_doors(client: httpx.AsyncClient, encode: Encode):
    image = encode(np.full((40, 40, 3), 17, np.uint8))
    await client.post("/v1/detect", files={"image": image})
    assert (await ask(client, image)).headers["cache-status"] == "yolov7-service; hit; detail=memory"
