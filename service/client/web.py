"""POST /v1/detect and GET /v1/models, as requests to build and answers to read. Sends nothing."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import numpy as np

from service.client.errors import ClientError, ConnectionFailed, Finding, Problem, ServiceFailed, TimedOut, error_of
from service.client.options import Options
from service.client.picture import media_type
from service.client.results import Detections, Model, ModelVersion, Result

_KEY = re.compile(r"[!-~]+")


def authorisation(key: str | None) -> dict[str, str]:
    """The header that brings a key. Raises ValueError for one that neither transport can carry."""
    if key is None:
        return {}
    if not _KEY.fullmatch(key):
        raise ValueError("a key is one word of printable ASCII")
    return {"Authorization": f"Bearer {key}"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, built anew for each try. `left_s` is told to the service and holds for each wait on the socket."""

    method: Literal["GET", "POST"]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None

    def build(
        self, client: httpx.Client | httpx.AsyncClient, left_s: float, *, connect_timeout_s: float
    ) -> httpx.Request:
        """With the client's address and headers."""
        headers = {
            "Accept": "application/json",
            "X-Request-Timeout-Ms": str(max(1, int(left_s * 1000))),
        }
        if self.content is not None:
            headers["Content-Type"] = media_type(self.content)
        timeout = httpx.Timeout(left_s, connect=min(left_s, connect_timeout_s))
        return client.build_request(
            self.method, self.path, params=self.query or None, content=self.content, headers=headers, timeout=timeout
        )


MODELS = Request("GET", "/v1/models")


def detect(data: bytes, options: Options) -> Request:
    """POST /v1/detect with a picture as a file."""
    return Request("POST", "/v1/detect", tuple(options.to_query()), data)


def transport_error(error: httpx.RequestError, request: httpx.Request) -> ClientError:
    """What httpx raises of a request that `Request.build` made, in the tree of service.client.errors."""
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        timeout = request.extensions["timeout"]
        if timeout["connect"] < timeout["read"]:
            return ConnectionFailed(f"no connection within {timeout['connect']:g} s: {text}")
        return TimedOut(f"no connection in time: {text}")
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(f"no answer in time: {text}")
    if not isinstance(error, httpx.TransportError):
        return ServiceFailed(f"an answer that cannot be read: {text}")
    return ConnectionFailed(text)


def read_result(response: httpx.Response) -> Result:
    """The answer of POST /v1/detect. Raises a ClientError for any other than 200."""
    document = _document(response)
    try:
        return Result(
            detections=_detections(document["detections"]),
            image_hw=(document["image"]["height"], document["image"]["width"]),
            model=ModelVersion(document["model"]["name"], document["model"]["version"]),
            stage_seconds={stage: value / 1000 for stage, value in document["timings_ms"].items()},
            request_id=document["request_id"],
            cached="; hit" in response.headers.get("Cache-Status", ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise _not_ours(response) from exc


def read_models(response: httpx.Response) -> tuple[Model, ...]:
    """The answer of GET /v1/models. Raises a ClientError for any other than 200."""
    document = _document(response)
    try:
        return tuple(_model(model) for model in document["models"])
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise _not_ours(response) from exc


def _document(response: httpx.Response) -> Any:
    if response.status_code != 200:
        raise error_of(_problem(response), retry_after_s=_retry_after_s(response))
    try:
        return response.json()
    except (ValueError, RecursionError) as exc:
        raise _not_ours(response) from exc


def _problem(response: httpx.Response) -> Problem:
    """The problem document, or what can be told of an answer that is none, such as a proxy's."""
    request_id = response.headers.get("X-Request-ID", "")
    try:
        document = json.loads(response.content)
        return Problem(
            status=response.status_code,
            name=document["type"].rpartition(":")[2],
            title=document["title"],
            detail=document["detail"],
            findings=tuple(Finding(found["pointer"], found["detail"]) for found in document.get("errors", ())),
            request_id=document.get("request_id", request_id),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        title = f"{response.status_code} {response.reason_phrase}"
        return Problem(response.status_code, "unknown", title, response.text[:200], request_id=request_id)


def _retry_after_s(response: httpx.Response) -> float | None:
    """None also for a date: the service gives seconds, and clocks differ."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _not_ours(response: httpx.Response) -> ServiceFailed:
    return ServiceFailed(f"{response.request.url} answered something else than yolov7-service does")


def _detections(found: list[Mapping[str, Any]]) -> Detections:
    boxes = [[one["box"][corner] for corner in ("x1", "y1", "x2", "y2")] for one in found]
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array([one["score"] for one in found], np.float32),
        class_ids=np.array([one["class_id"] for one in found], np.int32),
        labels=tuple(one["label"] for one in found),
    )


def _model(model: Mapping[str, Any]) -> Model:
    shapes = tuple((height, width) for height, width in model["input_shapes"])
    given = {name: model[name] for name in Model.__dataclass_fields__}
    return Model(**given | {"class_names": tuple(model["class_names"]), "input_shapes": shapes})
