"""POST /v1/vision/detection as DeepStack and CodeProject.AI have it, for the clients that speak their protocol.

Such clients are Frigate's `deepstack` detector, Home Assistant's integrations, Blue Iris and Agent DVR. They send a
form with `image`, perhaps `min_confidence`, and the key as `api_key`; whatever else is in it is passed over. Answers
have whole pixels, at most 20 predictions, since Frigate's array holds no more, and labels in lower case, with which
these clients compare. Errors have the protocol's form (service.api.problems), and the status that they have everywhere
here.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from service.api.answer import to_json
from service.api.door import Door
from service.api.exchange import Exchange
from service.api.intake import Intake
from service.api.problems import DEEPSTACK
from service.api.upload import Upload, check_content_type
from service.detector import Detected, Detector, Served
from service.detector.options import parse_options, resolve_options
from service.detector.places import Place
from service.errors import Finding, InvalidOption, Overloaded
from service.metrics import Metrics
from service.models import Models
from service.vision.postprocess import PostprocessOptions
from service.vision.spec import ModelSpec

DETECTION = f"{DEEPSTACK}/detection"
CUSTOM = f"{DEEPSTACK}/custom/{{model}}"
CUSTOM_LIST = f"{DEEPSTACK}/custom/list"
MOST_PREDICTIONS = 20
DEFAULT_CONFIDENCE = 0.4
LEAST_CONFIDENCE = 0.001
# How many bodies are read at once for the key that may be in them. They are small pictures from close by, done in
# milliseconds; the bound is on what strangers may hold, beside the places of those who are known.
MOST_STRANGERS = 32

Options = dict[str, str]


class Prediction(BaseModel):
    """One object found; corners in whole pixels of the upright picture, inside it."""

    label: str = Field(description="Name of the class, in lower case.")
    confidence: float = Field(ge=0, le=1)
    x_min: int
    y_min: int
    x_max: int
    y_max: int


class VisionAnswer(BaseModel):
    """Best first. From `count` on the fields are CodeProject.AI's."""

    success: bool = True
    predictions: list[Prediction] = Field(max_length=MOST_PREDICTIONS)
    duration: float = Field(description="Seconds from the request's head to here.")
    count: int
    message: str
    inferenceMs: int = Field(description="Milliseconds in the engine.")  # noqa: N815 - CodeProject.AI's name
    processMs: int = Field(description="In all stages.")  # noqa: N815
    analysisRoundTripMs: int = Field(description="From the request's head to here.")  # noqa: N815
    code: int = 200


class VisionError(BaseModel):
    """`code` is the status once more."""

    success: bool = False
    error: str
    duration: float = 0
    code: int


class VisionModels(BaseModel):
    """Names for /v1/vision/custom/{model}."""

    success: bool = True
    models: list[str]
    code: int = 200


class DeepStackRoutes:
    """Routes below /v1/vision."""

    def __init__(self, detector: Detector, models: Models, door: Door, *, intake: Intake, metrics: Metrics) -> None:
        self._detector = detector
        self._models = models
        self._door = door
        self._intake = intake
        self._metrics = metrics
        self._strangers = 0

    async def detection(self, request: Request) -> Response:
        """Finds objects with the default model."""
        return await self._answer(request, None)

    async def custom(self, request: Request, model: str) -> Response:
        """Finds objects with the current version of a model."""
        return await self._answer(request, model)

    async def custom_list(self) -> Response:
        """Which models there are; clients fill a menu with it."""
        names = sorted({model.key.name for model in self._models})
        return _json({"success": True, "models": names, "code": 200})

    async def _answer(self, request: Request, model: str | None) -> Response:
        content_type = request.headers.get("content-type", "")
        check_content_type(content_type)
        deadline = self._intake.deadline(request)
        if not (content_type.lower().startswith("multipart/form-data") and self._door.awaits_key(request)):
            await self._door.detect(request)
            with self._detector.place(deadline) as place:
                upload = await self._intake.receive(request, content_type, deadline)
                return await self._detect(request, upload, model, deadline, place)
        # Until the key is read nothing is decoded, and no place is taken from those who have shown theirs.
        with self._stranger():
            upload = await self._intake.receive(request, content_type, deadline)
        await self._door.detect(request, token=dict(upload.fields).get("api_key") or None)
        with self._detector.place(deadline) as place:
            return await self._detect(request, upload, model, deadline, place)

    @contextmanager
    def _stranger(self) -> Iterator[None]:
        if self._strangers >= MOST_STRANGERS:
            self._metrics.rejected.labels("places").inc()
            raise Overloaded(f"{self._strangers} bodies are being read for their keys already; a key in a header helps")
        self._strangers += 1
        try:
            yield
        finally:
            self._strangers -= 1

    async def _detect(
        self, request: Request, upload: Upload, model: str | None, deadline: float, place: Place
    ) -> Response:
        served = self._models.resolve(model)
        options = _options(dict(request.query_params) | dict(upload.fields), served.spec)
        detected = await self._intake.detect(
            request, upload.image, served, options=options, deadline=deadline, place=place
        )
        started_at = time.monotonic()
        exchange = Exchange.of(request)
        response = _json(_document(detected, served, started_at - exchange.started_at))
        exchange.stage_seconds["serialise"] = time.monotonic() - started_at
        self._metrics.observe_stages({stage: exchange.stage_seconds[stage] for stage in ("receive", "serialise")})
        return response


def _options(given: Options, spec: ModelSpec) -> PostprocessOptions:
    """`min_confidence` and `classes` of what was given; there may be anything else. Raises InvalidOption."""
    confidence = max(_confidence(given.get("min_confidence", "")), spec.score_floor, LEAST_CONFIDENCE)
    pairs = [
        ("confidence", str(confidence)),
        ("max_detections", str(MOST_PREDICTIONS)),
        ("classes", given.get("classes", "")),
    ]
    return resolve_options(parse_options(pairs), spec)


def _confidence(text: str) -> float:
    if not text:
        return DEFAULT_CONFIDENCE
    try:
        confidence = float(text)
    except ValueError:
        confidence = -1.0
    if not 0 <= confidence <= 1:
        raise InvalidOption(Finding("/min_confidence", f"{text[:20]!r} is not a number from 0 to 1"))
    return confidence


def _document(detected: Detected, served: Served, duration_s: float) -> dict[str, Any]:
    found = detected.detections
    labels = [served.spec.class_names[class_id].lower() for class_id in found.class_ids.tolist()]
    # Nearest, as it moves no edge to one side; boxes are inside the picture, whose edges are whole numbers.
    corners = np.rint(found.boxes).astype(np.int64).tolist()
    process_ms = round(sum(detected.stage_seconds.values()) * 1000)
    return {
        "success": True,
        "predictions": [
            {"label": label, "confidence": score, "x_min": x1, "y_min": y1, "x_max": x2, "y_max": y2}
            for label, score, (x1, y1, x2, y2) in zip(labels, found.scores, corners, strict=True)
        ],
        "duration": round(duration_s, 4),
        "count": len(labels),
        "message": f"Found {', '.join(labels)}" if labels else "No objects found",
        "inferenceMs": round(detected.stage_seconds["infer"] * 1000),
        "processMs": process_ms,
        "analysisRoundTripMs": round(duration_s * 1000),
        "code": 200,
    }


def _json(document: dict[str, Any]) -> Response:
    return Response(to_json(document), media_type="application/json")
