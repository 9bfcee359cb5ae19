"""What every door for one picture does alike: its deadline, its body within the limits, its detection, its stages.

Knows no form of options or of answers.
"""

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request

from service.api.body import read_body, unless_client_leaves
from service.api.exchange import Exchange
from service.api.negotiation import CACHE_STATUS, choose_caching
from service.api.upload import Upload, parse_upload
from service.detector import Detected, Detector, Served
from service.detector.places import Place
from service.errors import BodyTooSlow, DeadlineExceeded, Finding, InvalidOption, MalformedRequest
from service.vision.postprocess import PostprocessOptions

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


class Intake:
    """Takes requests in for `detector`; large bodies are parsed in `threads`."""

    def __init__(self, detector: Detector, *, limits: Limits, threads: Executor) -> None:
        self._detector = detector
        self._limits = limits
        self._threads = threads

    def deadline(self, request: Request) -> float:
        """When the answer must be ready, in time.monotonic(). Raises InvalidOption for a header that is no number."""
        text = request.headers.get(TIMEOUT_HEADER)
        timeout_s = self._limits.timeout_s
        if text is not None:
            # A float, because int() refuses very many digits, and they are capped anyway.
            if not text.isdecimal() or float(text) == 0:
                raise InvalidOption(Finding(f"/{TIMEOUT_HEADER}", f"{text[:20]!r} is not a number of milliseconds"))
            timeout_s = float(text) / 1000
        return Exchange.of(request).started_at + min(timeout_s, self._limits.max_timeout_s)

    async def receive(self, request: Request, content_type: str, deadline: float) -> Upload:
        """The body, taken apart. Raises what read_body and parse_upload raise, and DeadlineExceeded."""
        left_s = deadline - time.monotonic()
        try:
            body = await read_body(
                request, max_bytes=self._limits.max_body_bytes, timeout_s=min(left_s, self._limits.body_timeout_s)
            )
        except BodyTooSlow:
            if time.monotonic() < deadline:
                raise
            raise DeadlineExceeded("the deadline passed before the body was read") from None
        if len(body) <= PARSED_IN_PLACE_BYTES:
            return parse_upload(content_type, body)
        return await asyncio.get_running_loop().run_in_executor(self._threads, parse_upload, content_type, body)

    async def detect(
        self,
        request: Request,
        picture: bytes,
        served: Served,
        *,
        options: PostprocessOptions,
        deadline: float,
        place: Place,
    ) -> Detected:
        """What is in the picture, while the client waits; its exchange learns the stages and what the cache did.

        Raises ClientLeft, and what Detector.detect raises.
        """
        exchange = Exchange.of(request)
        exchange.stage_seconds["receive"] = time.monotonic() - exchange.started_at
        work = self._detector.detect(
            picture,
            served,
            options=options,
            deadline=deadline,
            place=place,
            caching=choose_caching(short_header(request.headers, "cache-control")),
        )
        detected = await unless_client_leaves(request.receive, work)
        exchange.stage_seconds.update(detected.stage_seconds)
        exchange.headers["Cache-Status"] = CACHE_STATUS[detected.cache]
        return detected


def short_header(headers: Headers, name: str) -> str:
    """A header's value, all its fields together. Raises MalformedRequest where it is absurdly long."""
    value = ",".join(headers.getlist(name))
    if len(value) > LONGEST_HEADER:
        raise MalformedRequest(f"{name} has {len(value):,} characters; at most {LONGEST_HEADER:,} are read")
    return value
