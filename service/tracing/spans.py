"""Traces as OpenTelemetry's spans. Imported only where requests are traced; the rest of the service knows none of it.

Only a request's own span and those of the inferences are opened before their work, because others are told their ids.
All the others are made when the request is answered, which costs nobody's answer any time.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.delivery import Delivery
from service.tracing.trace import PREFIX, Stage, Trace, Value

# A caller chooses the path of a request that we do not know.
LONGEST_ATTRIBUTE = 256


class Spans:
    """`url` is where they go, from `start` on."""

    def __init__(self, url: str, *, version: str) -> None:
        # It would tell of every batch that is not delivered, and of every malformed header that anybody sends.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._delivery = Delivery(url)
        self._provider = TracerProvider(
            resource=_resource(version),
            span_limits=SpanLimits(max_span_attribute_length=LONGEST_ATTRIBUTE),
            shutdown_on_exit=False,
        )
        self._tracer = self._provider.get_tracer("yolov7-service", version)
        self._propagator = TraceContextTextMapPropagator()

    def start(self) -> None:
        """Starts the thread that delivers. What waits for it is bounded; more is dropped."""
        self._provider.add_span_processor(BatchSpanProcessor(self._delivery))

    def shutdown(self) -> None:
        """Delivers what is left. Blocks for a few seconds at most."""
        self._delivery.closing()
        self._provider.shutdown()

    def open_request(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Value], *, waiting: dict[int, Trace]
    ) -> Trace | None:
        """None where it is not sampled."""
        epoch_ns = time.time_ns() - time.monotonic_ns()
        span = self._tracer.start_span(
            name,
            self._propagator.extract(headers, Context()) if headers else Context(),
            SpanKind.SERVER,
            attributes,
            start_time=epoch_ns + time.monotonic_ns(),
        )
        return Trace(span, name, epoch_ns, waiting) if span.get_span_context().trace_flags.sampled else None

    def close_request(self, trace: Trace, ended_at: float) -> None:
        """Ends its span, and makes those of its stages."""
        span = _span_of(trace)
        context = set_span_in_context(span, Context())
        for stage in trace.stages:
            self._make(trace, stage, context)
        span.update_name(trace.name)
        span.set_attributes(trace.attributes)
        if trace.error is not None:
            span.set_attribute("error.type", trace.error)
        if trace.failed:
            span.set_status(StatusCode.ERROR, trace.error)
        span.end(trace.at_ns(ended_at))

    def open_batch(
        self, traces: Sequence[Trace], attributes: Mapping[str, Value], *, size: int, started_at: float
    ) -> list[Span]:
        """The span `infer` of each; all but the first are linked to the first."""
        told = {PREFIX + name: value for name, value in {**attributes, "batch.size": size}.items()}
        spans: list[Span] = []
        for trace in traces:
            spans.append(
                self._tracer.start_span(
                    "infer",
                    set_span_in_context(_span_of(trace), Context()),
                    attributes=told,
                    links=[Link(spans[0].get_span_context())] if spans else [],
                    start_time=trace.at_ns(started_at),
                )
            )
        return spans

    def close_batch(self, traces: Sequence[Trace], spans: Sequence[Span], ended_at: float, error: str | None) -> None:
        """`error`: the name of what went wrong."""
        for trace, span in zip(traces, spans, strict=True):
            if error is not None:
                span.set_attribute("error.type", error)
                span.set_status(StatusCode.ERROR, error)
            span.end(trace.at_ns(ended_at))

    def traceparent(self, span: Span) -> str:
        """The header by which others continue from this span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span, Context()))
        return carrier["traceparent"]

    def _make(self, trace: Trace, stage: Stage, context: Context) -> None:
        links = [Link(_span_of(stage.link).get_span_context())] if stage.link is not None else []
        span = self._tracer.start_span(stage.name, context, links=links, start_time=trace.at_ns(stage.started_at))
        span.end(trace.at_ns(stage.ended_at))


def _span_of(trace: Trace) -> Span:
    assert isinstance(trace.span, Span)
    return trace.span


def _resource(version: str) -> Resource:
    """What the operator says of the process in OTEL_RESOURCE_ATTRIBUTES goes before what we say."""
    own: dict[str, str | int] = {
        "service.name": "yolov7-service",
        "service.version": version,
        "process.pid": os.getpid(),
    }
    return Resource.create(own).merge(OTELResourceDetector().detect())
