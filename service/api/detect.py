"""POST /v1/detect: from an HTTP request to the detector and back.

A plain ASGI endpoint. The body is read and taken apart here, not by FastAPI, so that an image is never spooled to disk,
parsed twice or copied more than once; FastAPI only documents the route, and its machinery costs no request anything.
"""

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api.answer import list_detections, to_json
from service.api.body import read_body, unless_client_leaves
from service.api.door import Door
from service.api.exchange import Exchange
from service.api.negotiation import CACHE_STATUS, JSON, choose_caching, choose_media_type
from service.api.upload import Upload, check_content_type, parse_upload
from service.detector import Detected, Detector, Served
from service.detector.options import parse_options, resolve_options
from service.errors import BodyTooSlow, DeadlineExceeded, Finding, InvalidOption, MalformedRequest
from service.metrics import Metrics
from service.models import Models

PATH = "/v1/detect"
TIMEOUT_HEADER = "X-Request-Timeout-Ms"
# Parsing more than this takes long enough to hold up other requests.
PARSED_IN_PLACE_BYTES = 1 << 20
# Of Accept and Cache-Control. They are read on the event loop, and what was read is remembered.
LONGEST_HEADER = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. `timeout_s` is the deadline of a request that sets none; `max_timeout_s` caps both."""

    max_body_bytes: int
    body_timeout_s: float
    timeout_s: float
    max_timeout_s: float


class DetectRoute:
    """The endpoint; an instance is called for each request."""

    def __init__(
        self,
        detector: Detector,
        models: Models,
        door: Door,
        *,
        limits: Limits,
        threads: Executor,
        metrics: Metrics,
    ) -> None:
        self._detector = detector
        self._models = models
        self._door = door
        self._limits = limits
        self._threads = threads
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
        headers = request.headers
        media_type = choose_media_type(_short(headers, "accept"))
        content_type = headers.get("content-type", "")
        check_content_type(content_type)
        deadline = exchange.started_at + self._timeout_s(request)
        await self._door.detect(request)
        with self._detector.place(deadline) as place:
            upload = await self._receive(request, content_type, deadline)
            options = parse_options([*request.query_params.multi_items(), *upload.fields])
            served = self._models.resolve(options.model, options.version)
            chosen = resolve_options(options, served.spec)
            exchange.stage_seconds["receive"] = time.monotonic() - exchange.started_at
            work = self._detector.detect(
                upload.image,
                served,
                options=chosen,
                deadline=deadline,
                place=place,
                caching=choose_caching(_short(headers, "cache-control")),
            )
            detected = await unless_client_leaves(request.receive, work)
            started_at = time.monotonic()
            exchange.stage_seconds.update(detected.stage_seconds)
            exchange.headers["Cache-Status"] = CACHE_STATUS[detected.cache]
            if media_type == JSON:
                content = self._write(detected, served, exchange)
            else:
                drawing = self._detector.draw(upload.image, detected, served.spec, media_type)
                content = await unless_client_leaves(request.receive, _in_time(drawing, deadline))
        exchange.stage_seconds["serialise"] = time.monotonic() - started_at
        self._metrics.observe_stages({stage: exchange.stage_seconds[stage] for stage in ("receive", "serialise")})
        return Response(content, media_type=media_type)

    def _timeout_s(self, request: Request) -> float:
        text = request.headers.get(TIMEOUT_HEADER)
        if text is None:
            return min(self._limits.timeout_s, self._limits.max_timeout_s)
        # A float, because int() refuses very many digits, and they are capped anyway.
        if not text.isdecimal() or float(text) == 0:
            raise InvalidOption(Finding(f"/{TIMEOUT_HEADER}", f"{text[:20]!r} is not a number of milliseconds"))
        return min(float(text) / 1000, self._limits.max_timeout_s)

    async def _receive(self, request: Request, content_type: str, deadline: float) -> Upload:
        left_s = deadline - time.monotonic()
        try:
            body = await read_body(
                request, max_bytes=self._limits.max_body_bytes, timeout_s=min(left_s, self._limits.body_timeout_s)
            )
        except BodyTooSlow:
            if time.monotonic() < deadline:
                raise
            raise DeadlineExceeded("the deadline passed before the body was read") from None
        return await self._parse(content_type, body)

    async def _parse(self, content_type: str, body: bytes) -> Upload:
        if len(body) <= PARSED_IN_PLACE_BYTES:
            return parse_upload(content_type, body)
        return await asyncio.get_running_loop().run_in_executor(self._threads, parse_upload, content_type, body)

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


def _short(headers: Headers, name: str) -> str:
    """A header's value, all its fields together. Raises MalformedRequest where it is absurdly long."""
    value = ",".join(headers.getlist(name))
    if len(value) > LONGEST_HEADER:
        raise MalformedRequest(f"{name} has {len(value):,} characters; at most {LONGEST_HEADER:,} are read")
    return value


async def _in_time(drawing: Coroutine[Any, Any, bytes], deadline: float) -> bytes:
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await drawing
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed before the picture was drawn") from None
