"""Detections of a running service by the protocol ``served``: the photo's own bytes over HTTP, the answer's boxes back.

This is what a user gets, so it is what a model's AP is stated for. It knows the public API and nothing of its inside.
"""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np

from service.vision.detections import Detections
from service.vision.postprocess import SERVED_EVALUATION
from training.data import CocoDataset

_TIMEOUT_S = 60.0
_CLIENTS = 4


class EndpointError(RuntimeError):
    """The service did not answer, or refused an image; the message holds its own words."""


def detect_endpoint(url: str, model: str, dataset: CocoDataset) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in original pixels) of ``POST url/v1/detect``, one by one. Raises EndpointError."""
    options = {
        "model": model,
        "confidence": SERVED_EVALUATION.confidence,
        "iou": SERVED_EVALUATION.iou,
        "max_detections": SERVED_EVALUATION.max_detections,
        "multi_label": "true",
    }
    path = f"/v1/detect?{urlencode(options)}"

    def ask(file: Path) -> Detections:
        return _detections(_post(url, path, file))

    with ThreadPoolExecutor(_CLIENTS) as pool:
        yield from zip(
            (image.id for image in dataset.images), pool.map(ask, (image.path for image in dataset.images)), strict=True
        )


def _post(url: str, path: str, file: Path) -> dict[str, Any]:
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise EndpointError(f"{url!r} is not http://HOST or https://HOST")
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=_TIMEOUT_S)
    try:
        headers = {"Content-Type": _content_type(file), "X-Request-Timeout-Ms": str(int(_TIMEOUT_S * 1000))}
        connection.request("POST", f"{parts.path.rstrip('/')}{path}", body=file.read_bytes(), headers=headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise EndpointError(f"{url} does not answer: {exc}") from exc
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise EndpointError(f"{file.name}: {response.status} {body.decode(errors='replace')}")
    try:
        answer: dict[str, Any] = json.loads(body)
    except ValueError as exc:
        raise EndpointError(f"{url} answers no JSON: is it the service?") from exc
    return answer


def _content_type(file: Path) -> str:
    return {".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp"}.get(file.suffix.lower(), "image/jpeg")


def _detections(answer: dict[str, Any]) -> Detections:
    found = answer["detections"]
    corners = [[row["box"][name] for name in ("x1", "y1", "x2", "y2")] for row in found]
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array([row["score"] for row in found], np.float32),
        np.array([row["class_id"] for row in found], np.int32),
    )
