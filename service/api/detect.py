"""POST /v1/detect: from an HTTP request to the detector and back.

A plain ASGI endpoint. The body is read and taken apart here, not by FastAPI, so that an image is never spooled to disk,
parsed twice or copied more than once; FastAPI only documents the route, and its machinery costs no request anything.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.answer import list_detections, to_json
from service.api.body import unless_client_leaves
from service.api.door import Door
from service.api.exchange import Exchange
from service.api.intake import Intake, short_header
from service.api.negotiation import JSON, choose_media_type
from service.api.upload import check_content_type
from service.detector import Detected, Detector, Served
from service.detector.options import parse_options, resolve_options
from service.errors import DeadlineExceeded
from service.metrics import Metrics
from service.models import Models

PATH = "/v1/detect"


class DetectRoute:
    """The endpoint; an instance is called for each request."""

    def __init__(self, detector: Detector, models: Models, door: Door, *, intake: Intake, metrics: Metrics) -> None:
        self._detector = detector
        self._models = models
        self._door = door
        self._intake = intake
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        request = Request(scope, receive)
        Exchange.of(request).route = PATH
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        """Answers one request, or raises an error of the tree in service.errors."""
        exchange = Exchange.of(request)
        media_type = choose_media_type(short_header(request.headers, "accept"))
        content_type = request.headers.get("content-type", "")
        check_content_type(content_type)
        deadline = self._intake.deadline(request)
        await self._door.detect(request)
        with self._detector.place(deadline) as place:
            upload = await self._intake.receive(request, content_type, deadline)
            options = parse_options([*request.query_params.multi_items(), *upload.fields])
            served = self._models.resolve(options.model, options.version)
            detected = await self._intake.detect(
                request,
                upload.image,
                served,
                options=resolve_options(options, served.spec),
                deadline=deadline,
                place=place,
            )
            started_at = time.monotonic()
            if media_type == JSON:
                content = self._write(detected, served, exchange)
            else:
                drawing = self._detector.draw(upload.image, detected, served.spec, media_type)
                content = await unless_client_leaves(request.receive, _in_time(drawing, deadline))
        exchange.stage_seconds["serialise"] = time.monotonic() - started_at
        self._metrics.observe_stages({stage: exchange.stage_seconds[stage] for stage in ("receive", "serialise")})
        return Response(content, media_type=media_type)

    def _write(self, detected: Detected, served: Served, exchange: Exchange) -> bytes:
        started_at = time.monotonic()
        height, width = detected.image_hw
        document: dict[str, Any] = {
            "model": {"name": served.spec.name, "version": served.spec.version},
            "image": {"width": width, "height": height},
            "detections": list_detections(detected.detections, served.spec),
            "timings_ms": {stage: round(seconds * 1000, 3) for stage, seconds in exchange.stage_seconds.items()},
            "request_id": exchange.request_id,
        }
        # The writing of the document itself can be told only in the header.
        document["timings_ms"]["serialise"] = round((time.monotonic() - started_at) * 1000, 3)
        return to_json(document)


async def _in_time(drawing: Coroutine[Any, Any, bytes], deadline: float) -> bytes:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await drawing
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the picture was drawn") from None
