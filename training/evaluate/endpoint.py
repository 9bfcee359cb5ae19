"""Detections of a running service by the protocol ``served``: the photo's own bytes over HTTP, the answer's boxes back.

This is what a user gets, so it is what a model's AP is stated for. It knows the public API and nothing of its inside.
"""

import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np

from service.vision.detections import Detections
from service.vision.postprocess import SERVED_EVALUATION
from training.data import CocoDataset

_TIMEOUT_S = 60.0
_CLIENTS = 4
_KEY = "YOLOV7_KEY"


class EndpointError(RuntimeError):
    """The service did not answer, or refused an image; the message holds its own words."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running service: its base URL, and the API key that it asks for; empty where it asks for none."""

    url: str
    key: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.url


def read_key(file: Path | None) -> str:
    """Return the key in ``file``, or without one that of the environment. Raises EndpointError for what is no key."""
    try:
        key = os.environ.get(_KEY, "") if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise EndpointError(f"cannot read the API key: {exc}") from exc
    key = key.strip()
    if (file is not None and not key) or not (key.isascii() and key.isprintable()) or " " in key:
        raise EndpointError(f"{file or _KEY} holds no API key")
    return key


def detect_endpoint(endpoint: Endpoint, model: str, dataset: CocoDataset) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in original pixels) of ``POST url/v1/detect``, one by one. Raises EndpointError."""
    path = served_path(model)

    def ask(file: Path) -> Detections:
        return read_detections(post_image(endpoint, path, file.read_bytes(), file.name))

    with ThreadPoolExecutor(_CLIENTS) as pool:
        yield from zip(
            (image.id for image in dataset.images), pool.map(ask, (image.path for image in dataset.images)), strict=True
        )


def served_path(model: str) -> str:
    """Where the service answers for ``model`` by the protocol ``served``."""
    options = {
        "model": model,
        "confidence": SERVED_EVALUATION.confidence,
        "iou": SERVED_EVALUATION.iou,
        "max_detections": SERVED_EVALUATION.max_detections,
        "multi_label": "true",
    }
    return f"/v1/detect?{urlencode(options)}"


def post_image(endpoint: Endpoint, path: str, data: bytes, name: str) -> dict[str, Any]:
    """Return the service's answer for a file called ``name``, inferred anew. Raises EndpointError."""
    headers = {
        "Content-Type": _content_type(Path(name)),
        "X-Request-Timeout-Ms": str(int(_TIMEOUT_S * 1000)),
        "Cache-Control": "no-store",
    }
    status, body = _request(endpoint, "POST", path, data, headers)
    if status != http.HTTPStatus.OK:
        raise EndpointError(f"{name}: {status} {body.decode(errors='replace')}")
    return _object(endpoint.url, body)


def ask(endpoint: Endpoint, path: str) -> bytes:
    """Return the body of ``GET url/path``. Raises EndpointError."""
    status, body = _request(endpoint, "GET", path, None, {})
    if status != http.HTTPStatus.OK:
        raise EndpointError(f"{endpoint}{path}: {status} {body.decode(errors='replace')}")
    return body


def ask_object(endpoint: Endpoint, path: str) -> dict[str, Any]:
    """Return the JSON object of ``GET url/path``. Raises EndpointError."""
    return _object(endpoint.url, ask(endpoint, path))


def _request(
    endpoint: Endpoint, method: str, path: str, data: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    url = endpoint.url
    parts = urlsplit(url)
    if endpoint.key:
        headers = headers | {"Authorization": f"Bearer {endpoint.key}"}
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    try:
        port = parts.port
    except ValueError as exc:
        raise EndpointError(f"{url!r}: {exc}") from exc
    if parts.scheme not in kinds or not parts.hostname:
        raise EndpointError(f"{url!r} is not http://HOST or https://HOST")
    connection = kinds[parts.scheme](parts.hostname, port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, f"{parts.path.rstrip('/')}{path}", body=data, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise EndpointError(f"{url} does not answer: {exc}") from exc
    finally:
        connection.close()


def _object(url: str, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as exc:
        raise EndpointError(f"{url} answers no JSON: is it the service?") from exc
    if not isinstance(answer, dict):
        raise EndpointError(f"{url} answers no JSON object: is it the service?")
    return answer


def _content_type(file: Path) -> str:
    return {".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp"}.get(file.suffix.lower(), "image/jpeg")


def read_detections(answer: dict[str, Any]) -> Detections:
    """Return what an answer of ``POST /v1/detect`` has found. Raises EndpointError for another answer."""
    try:
        found = answer["detections"]
        corners = [[row["box"][name] for name in ("x1", "y1", "x2", "y2")] for row in found]
        return Detections(
            np.array(corners, np.float32).reshape(-1, 4),
            np.array([row["score"] for row in found], np.float32),
            np.array([row["class_id"] for row in found], np.int32),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise EndpointError("the answer holds no detections: is it the service?") from exc
