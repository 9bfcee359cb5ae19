"""All the streams of one process: what opens one, and how all of them end."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.access import Keys, Rates
from service.detector import Detector
from service.errors import Draining, Overloaded
from service.live.asking import Asking
from service.live.stream import Stream
from service.live.turns import Turns
from service.live.wanted import StreamLimits, Wanted, bounded, check_name
from service.metrics import Metrics
from service.models import Models

logger = logging.getLogger(__name__)


class Streams:
    """One per process. `limits` are for whoever opens a stream to know."""

    def __init__(
        self,
        detector: Detector,
        models: Models,
        *,
        keys: Keys,
        rates: Rates,
        turns: Turns,
        limits: StreamLimits,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._detector = detector
        self._models = models
        self._keys = keys
        self._rates = rates
        self._turns = turns
        self._metrics = metrics
        self._clock = clock
        self._open: set[Stream] = set()
        self._none = asyncio.Event()
        self._none.set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def open(self, wanted: Wanted) -> Iterator[Stream]:
        """A stream, open until the end of the block, which is to `run` it once.

        Raises UnknownModel, InvalidOption, ModelNotReady, Draining, Overloaded where too many are open, and
        Unauthenticated where the client's key is gone by now.
        """
        stream = self._enter(wanted)
        opened_at = self._clock()
        told = {"stream": wanted.name, "key": wanted.client.name, "transport": wanted.transport}
        line = (wanted.name or "-", wanted.transport, stream.served.model, stream.delivery)
        logger.info("stream %s opened over %s: model %s, %s", *line, extra=told)
        try:
            yield stream
        finally:
            self._leave(stream, wanted)
            seconds, counts = self._clock() - opened_at, dict(stream.counts)
            counted = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no frames"
            summary = {**told, "duration_ms": round(seconds * 1000, 1), "frames": counts}
            logger.info("stream %s ended after %.1f s: %s", wanted.name or "-", seconds, counted, extra=summary)

    def drain(self) -> None:
        """No further one is opened; each open one reads no further frame, answers what it accepted, and ends."""
        if not self._draining:
            self._draining = True
            for stream in self._open:
                stream.drain()

    async def closed(self) -> None:
        """Waits until none is open."""
        await self._none.wait()

    def _enter(self, wanted: Wanted) -> Stream:
        if self._draining:
            raise Draining("the service is shutting down")
        if len(self._open) >= self.limits.max_streams:
            self._metrics.rejected.labels("streams").inc()
            raise Overloaded(f"{len(self._open)} streams are open already")
        check_name(wanted.name)
        delivery = bounded(wanted.delivery, self.limits)
        asking = Asking(
            self._detector,
            self._models,
            keys=self._keys,
            rates=self._rates,
            wanted=wanted,
            metrics=self._metrics,
            clock=self._clock,
        )
        stream = Stream(
            asking,
            delivery,
            self._turns,
            transport=wanted.transport,
            limits=self.limits,
            metrics=self._metrics,
            clock=self._clock,
        )
        self._open.add(stream)
        self._none.clear()
        self._metrics.streams.labels(wanted.transport).inc()
        return stream

    def _leave(self, stream: Stream, wanted: Wanted) -> None:
        self._open.discard(stream)
        self._metrics.streams.labels(wanted.transport).dec()
        if not self._open:
            self._none.set()
