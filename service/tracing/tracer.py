"""A trace for each request that is to have one, and the batches that they meet in.

    request        the caller's traceparent is continued and its sampling obeyed
    ├── receive, cache, decode, preprocess, postprocess, serialise   made at the end, of moments that are known anyway
    ├── queue      linked to the other request, where that one's inference was shared
    └── infer      one for each traced request of a batch

A call to the engine can name one parent only. It names the `infer` of the batch's first traced request; those of the
others are linked to it, and each says how many images the batch had. What is not sampled is not named at all: Triton
records whatever request names a parent, sampled or not, and with `--trace-config rate=0` no other.

What the operator may choose beside the endpoint are OpenTelemetry's own variables, such as OTEL_TRACES_SAMPLER,
OTEL_RESOURCE_ATTRIBUTES and OTEL_EXPORTER_OTLP_HEADERS.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from service.tracing.trace import Trace, Value, belonging_to, calling_with

SIGNAL_PATH = "/v1/traces"


class Tracer:
    """`endpoint`: the URL of an OTLP/HTTP collector; one without a path is given the usual one.

    Raises ValueError for what is no URL, ImportError where OpenTelemetry is not installed. `start` comes first.
    """

    def __init__(self, endpoint: str, *, version: str) -> None:
        url = _signal_url(endpoint)
        from service.tracing.spans import Spans  # noqa: PLC0415 - OpenTelemetry is optional

        self._spans = Spans(url, version=version)
        self._waiting: dict[int, Trace] = {}

    def start(self) -> None:
        """From now on spans are delivered, by a thread of their own."""
        self._spans.start()

    async def aclose(self) -> None:
        """Delivers what is left, within a deadline."""
        await asyncio.to_thread(self._spans.shutdown)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Value]) -> Iterator[Trace | None]:
        """Within, the work belongs to one request, of which what is noted becomes spans at the end. None: not sampled.

        `headers`: traceparent and tracestate, where the caller sent them.
        """
        trace = self._spans.open_request(name, headers, attributes, waiting=self._waiting)
        if trace is None:
            yield None
            return
        try:
            with belonging_to(trace):
                yield trace
        finally:
            ended_at = time.monotonic()
            trace.end(ended_at)
            self._spans.close_request(trace, ended_at)

    @contextmanager
    def batch(self, payloads: Sequence[object], attributes: Mapping[str, Value]) -> Iterator[None]:
        """Within, the engine works on these payloads, for whichever traced requests wait with them."""
        started_at = time.monotonic()
        waiting = [(payload, self._waiting[id(payload)]) for payload in payloads if id(payload) in self._waiting]
        for payload, trace in waiting:
            trace.batched(payload, started_at)
        traces = [trace for _, trace in waiting]
        spans = self._spans.open_batch(traces, attributes, size=len(payloads), started_at=started_at)
        error: str | None = None
        try:
            with calling_with(self._spans.traceparent(spans[0]) if spans else None):
                yield
        except BaseException as exc:
            error = type(exc).__name__
            raise
        finally:
            self._spans.close_batch(traces, spans, time.monotonic(), error)
            # Those of a batch that failed wait for another one, each of its own.
            for payload, trace in waiting if error is None else ():
                trace.leaves(payload)


def _signal_url(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a URL such as http://collector:4318")
    return endpoint if parts.path.strip("/") else parts._replace(path=SIGNAL_PATH).geturl()
