"""Spans on their way to a collector that may be away, slow or back: nobody waits for it, and the log hears of it once.

Runs on the exporting thread.
"""

import logging
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

EXPORT_S = 5.0
# After that nothing more is sent at the end.
FLUSH_S = 3.0


class Delivery(SpanExporter):
    """Sends by OTLP over HTTP to `url`; each batch of spans has `export_s`, with all its attempts."""

    def __init__(self, url: str, *, export_s: float = EXPORT_S) -> None:
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=export_s)
        parts = urlsplit(url)
        # Without the credentials that a URL may hold.
        self._where = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self._lost = 0
        self._closes_at: float | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter.export. Blocks for `export_s` at most."""
        if self._closes_at is not None and (self._lost or time.monotonic() > self._closes_at):
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._delivered()
        else:
            self._failed(len(spans))
        return result

    def closing(self) -> None:
        """What is left is sent if that can be done soon; a collector that is away now is not waited for."""
        self._closes_at = time.monotonic() + FLUSH_S
        if self._lost:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def shutdown(self) -> None:
        """See SpanExporter.shutdown."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _delivered(self) -> None:
        if self._lost:
            logger.warning("traces are taken by %s again; %d spans were lost", self._where, self._lost)
        self._lost = 0

    def _failed(self, count: int) -> None:
        if not self._lost:
            logger.warning("traces are not taken by %s; requests go on without them", self._where)
        self._lost += count
