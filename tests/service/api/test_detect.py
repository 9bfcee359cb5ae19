"""POST /v1/detect as a client sees it, served by the real engine."""

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_a_raw_body_is_detected(client: httpx.AsyncClient, png: bytes):
    answer = await client.post("/v1/detect", content=png, headers={"content-type": "image/png"})
    assert answer.status_code == 200, answer.text
    red, blue = answer.json()["detections"]
    assert red == {"label": "red", "class_id": 0, "score": 1.0, "box": {"x1": 16.0, "y1": 32.0, "x2": 24.0, "y2": 40.0}}
    assert blue["label"] == "blue"
    assert blue["score"] == pytest.approx(200 / 255, abs=1e-5)
