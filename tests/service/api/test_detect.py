"""POST /v1/detect as a client sees it, served by the real engine."""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.app import Service, build_application
from service.settings import Settings

pytestmark = pytest.mark.anyio

PNG = {"content-type": "image/png"}
Encode = Callable[..., bytes]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """A service with settings of its own."""
    service = Service(settings)
    await service.start()
    transport = httpx.ASGITransport(build_application(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield service, client
    await service.aclose()


async def post(client: httpx.AsyncClient, data: bytes, query: str = "", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(f"/v1/detect{query}", content=data, headers=PNG | given)


async def test_the_answer_has_the_documented_form(client: httpx.AsyncClient, png: bytes):
    answer = await post(client, png, x_request_id="from-me.1")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert list(document) == ["model", "image", "detections", "timings_ms", "request_id"]
    assert document["model"] == {"name": "blocks", "version": "1"}
    assert document["image"] == {"width": 128, "height": 128}
    red, blue = document["detections"]
    assert red == {"label": "red", "class_id": 0, "score": 1.0, "box": {"x1": 16.0, "y1": 32.0, "x2": 24.0, "y2": 40.0}}
    assert blue["label"] == "blue"
    stages = ["receive", "decode", "preprocess", "queue", "infer", "postprocess", "serialise"]
    assert list(document["timings_ms"]) == stages
    assert document["request_id"] == answer.headers["x-request-id"] == "from-me.1"
    assert answer.headers["server-timing"].startswith("receive;dur=")


async def test_scores_keep_every_digit_of_a_float32(client: httpx.AsyncClient, png: bytes):
    answer = await post(client, png)
    text = answer.text.split('"score":')[2].split(",")[0]
    assert str(np.float32(text)) == text
    assert float(text) == pytest.approx(200 / 255, abs=1e-5)


async def test_form_raw_and_base64_answer_alike(client: httpx.AsyncClient, png: bytes):
    raw = await post(client, png)
    form = await client.post("/v1/detect", files={"image": ("a.png", png)})
    encoded = await client.post("/v1/detect", json={"image": base64.b64encode(png).decode()})
    assert raw.json()["detections"] == form.json()["detections"] == encoded.json()["detections"] != []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
async def test_every_kind_of_png_is_taken(client: httpx.AsyncClient, picture: NDArray[np.uint8], mode: str):
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


async def test_options_come_by_query_or_by_form(client: httpx.AsyncClient, png: bytes):
    query = await post(client, png, "?classes=blue&confidence=0.1")
    form = await client.post("/v1/detect", files={"image": png}, data={"classes": "2", "confidence": "0.1"})
    assert [row["label"] for row in query.json()["detections"]] == ["blue"]
    assert query.json()["detections"] == form.json()["detections"]


async def test_a_body_large_enough_to_be_parsed_aside_answers_alike(client: httpx.AsyncClient, encode: Encode):
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
    client: httpx.AsyncClient, png: bytes, status: int, query: str, headers: dict[str, str], body: bytes | None
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


async def test_limits_of_bytes_and_pixels(
    make_settings: Callable[..., Settings], png: bytes, picture: NDArray[np.uint8]
):
    async with serving(make_settings(max_body_bytes=len(png), max_pixels=picture[..., 0].size)) as (_, client):
        assert (await post(client, png)).status_code == 200
        too_long = await post(client, png + b"\0")
        assert (too_long.status_code, too_long.headers["connection"]) == (413, "close")
    async with serving(make_settings(max_pixels=picture[..., 0].size - 1)) as (_, client):
        assert (await post(client, png)).json()["type"].endswith(":image-too-large")


async def test_a_slow_body_is_408(make_settings: Callable[..., Settings], png: bytes):
    async def trickle() -> AsyncIterator[bytes]:
        yield png[:10]
        await asyncio.sleep(0.2)
        yield png[10:]

    async with serving(make_settings(body_timeout_s=0.05)) as (_, client):
        answer = await client.post("/v1/detect", content=trickle(), headers=PNG)
        assert (answer.status_code, answer.json()["status"]) == (408, 408)


async def test_a_passed_deadline_is_504(service: Service, client: httpx.AsyncClient, png: bytes):
    release = asyncio.Event()
    plugs = plug(service, release)
    started = time.monotonic()
    answer = await post(client, png, X_Request_Timeout_Ms="50")
    assert (answer.status_code, answer.json()["status"]) == (504, 504)
    assert 0.05 <= time.monotonic() - started < 1.0
    release.set()
    await asyncio.gather(*plugs)


async def test_a_full_service_is_503_at_once(make_settings: Callable[..., Settings], png: bytes):
    async with serving(make_settings(max_in_flight=2)) as (service, client):
        release = asyncio.Event()
        plugs = plug(service, release)
        taken = [asyncio.create_task(post(client, png)) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await post(client, png)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        release.set()
        assert [(await task).status_code for task in taken] == [200, 200]
        await asyncio.gather(*plugs)


async def test_concurrent_clients_get_their_own_answers(client: httpx.AsyncClient, encode: Encode):
    async def ask(n: int) -> bool:
        image = np.zeros((128, 128, 3), np.uint8)
        image[8 * n : 8 * n + 8, :8, n % 3] = 255
        (found,) = (await post(client, encode(image))).json()["detections"]
        return (found["class_id"], found["box"]["y1"]) == (n % 3, 8.0 * n)

    assert all(await asyncio.gather(*(ask(n % 16) for n in range(48))))


@pytest.mark.parametrize("headers", [{"X_Request_Timeout_Ms": "9" * 5000}, {"accept": ""}])
async def test_odd_headers_that_mean_no_harm_are_taken(client: httpx.AsyncClient, png: bytes, headers: dict[str, str]):
    assert (await post(client, png, **headers)).status_code == 200


async def test_the_deadline_holds_while_the_body_comes(client: httpx.AsyncClient, png: bytes):
    async def slowly() -> AsyncIterator[bytes]:
        yield png[:50]
        await asyncio.Event().wait()

    headers = PNG | {"X-Request-Timeout-Ms": "50"}
    answer = await asyncio.wait_for(client.post("/v1/detect", content=slowly(), headers=headers), 5)
    assert (answer.status_code, answer.json()["detail"]) == (504, "the deadline passed before the body was read")


async def test_the_default_deadline_is_capped_too(make_settings: Callable[..., Settings], png: bytes):
    async with serving(make_settings(max_request_timeout_ms=50)) as (service, client):
        release = asyncio.Event()
        plugs = plug(service, release)
        assert (await post(client, png)).status_code == 504
        release.set()
        await asyncio.gather(*plugs)


async def test_an_unsafe_request_id_is_replaced(client: httpx.AsyncClient, png: bytes):
    answer = await post(client, png, x_request_id="a b<script>")
    assert len(answer.headers["x-request-id"]) == 32


def plug(service: Service, release: asyncio.Event) -> list[asyncio.Future[object]]:
    """Occupies every worker thread until `release` is set."""
    loop = asyncio.get_running_loop()
    wait = [asyncio.run_coroutine_threadsafe(release.wait(), loop) for _ in range(16)]
    return [asyncio.wrap_future(service.threads.submit(future.result)) for future in wait]
