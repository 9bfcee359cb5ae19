"""POST /v1/detect: from an HTTP request to the detector and back.

The body is read and taken apart here, not by FastAPI, so that an image is never spooled to disk, parsed twice or
copied more than once; FastAPI only routes and documents.
"""

import asyncio
import json
import re
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.api.answer import write_detections
from service.api.body import read_body, unless_client_leaves
from service.api.exchange import Exchange
from service.api.options import parse_options, resolve_options
from service.api.upload import Upload, check_content_type, parse_upload
from service.detector import Detected, Detector
from service.errors import DeadlineExceeded, Finding, InvalidOption, NotAcceptable
from service.metrics import Metrics
from service.models import Models
from service.vision.spec import ModelSpec

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
# Parsing more than this takes long enough to hold up other requests.
PARSED_IN_PLACE_BYTES = 1 << 20
REFUSED = re.compile(r"q=0(\.0*)?")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. `timeout_s` is the deadline of a request that sets none; `max_timeout_s` caps both."""

    max_body_bytes: int
    body_timeout_s: float
    timeout_s: float
    max_timeout_s: float


class DetectRoute:
    """The route; an instance is called for each request."""

    def __init__(
        self,
        detector: Detector,
        models: Models,
        *,
        limits: Limits,
        threads: Executor,
        metrics: Metrics,
    ) -> None:
        self._detector = detector
        self._models = models
        self._limits = limits
        self._threads = threads
        self._metrics = metrics

    async def __call__(self, request: Request) -> Response:
        """Answers one request, or raises an error of the tree in service.errors."""
        exchange = Exchange.of(request)
        check_accept(",".join(request.headers.getlist("accept")))
        content_type = request.headers.get("content-type", "")
        check_content_type(content_type)
        deadline = exchange.started_at + self._timeout_s(request)
        with self._detector.place():
            upload = await self._receive(request, content_type, deadline)
            options = parse_options([*request.query_params.multi_items(), *upload.fields])
            spec = self._models.resolve(options.model, options.version)
            chosen = resolve_options(options, spec)
            exchange.stage_seconds["receive"] = time.monotonic() - exchange.started_at
            work = self._detector.detect(upload.image, spec, options=chosen, deadline=deadline)
            detected = await unless_client_leaves(request.receive, work)
        exchange.stage_seconds.update(detected.stage_seconds)
        return self._respond(detected, spec, exchange)

    def _timeout_s(self, request: Request) -> float:
        text = request.headers.get(TIMEOUT_HEADER)
        if text is None:
            return min(self._limits.timeout_s, self._limits.max_timeout_s)
        # A float, because int() refuses very many digits, and they are capped anyway.
        if not text.isdecimal() or float(text) == 0:
            raise InvalidOption(Finding(f"/{TIMEOUT_HEADER}", f"{text[:20]!r} is not a number of milliseconds"))
        return min(float(text) / 1000, self._limits.max_timeout_s)

    async def _receive(self, request: Request, content_type: str, deadline: float) -> Upload:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                body = await read_body(
                    request, max_bytes=self._limits.max_body_bytes, timeout_s=self._limits.body_timeout_s
                )
                return await self._parse(content_type, body)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the body was read") from None

    async def _parse(self, content_type: str, body: bytes) -> Upload:
        if len(body) <= PARSED_IN_PLACE_BYTES:
            return parse_upload(content_type, body)
        return await asyncio.get_running_loop().run_in_executor(self._threads, parse_upload, content_type, body)

    def _respond(self, detected: Detected, spec: ModelSpec, exchange: Exchange) -> Response:
        started_at = time.monotonic()
        detections = write_detections(detected.detections, spec)
        exchange.stage_seconds["serialise"] = time.monotonic() - started_at
        height, width = detected.image_hw
        head = _dump(
            {"model": {"name": spec.name, "version": spec.version}, "image": {"width": width, "height": height}}
        )
        timings_ms = {stage: round(seconds * 1000, 3) for stage, seconds in exchange.stage_seconds.items()}
        tail = _dump({"timings_ms": timings_ms, "request_id": exchange.request_id})
        self._metrics.observe_stages({stage: exchange.stage_seconds[stage] for stage in ("receive", "serialise")})
        return Response(f'{head[:-1]},"detections":{detections},{tail[1:]}', media_type="application/json")


def check_accept(accept: str) -> None:
    """Raises NotAcceptable unless JSON is among the media ranges of an Accept header, or it is empty."""
    if not accept.strip():
        return
    for item in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        refused = any(REFUSED.fullmatch(parameter) for parameter in parameters)
        if media_range in ("*/*", "application/*", "application/json") and not refused:
            return
    raise NotAcceptable(f"the answer is application/json, which Accept: {accept} leaves out")


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
