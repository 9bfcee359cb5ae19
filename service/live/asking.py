"""One stream's way to the detector: who asks, what for, and by which model that is current."""

import time
from collections.abc import Callable

from service.access import Keys, Rates
from service.detector import Detector, Served
from service.detector.options import DetectOptions, resolve_options
from service.errors import RateLimited
from service.live.frame import Answered
from service.live.order import Slot
from service.live.wanted import Wanted
from service.metrics import Metrics
from service.models import Models
from service.vision.postprocess import PostprocessOptions


class Asking:
    """The constructor raises UnknownModel, ModelNotReady and InvalidOption, and what `renew` does."""

    def __init__(
        self,
        detector: Detector,
        models: Models,
        *,
        keys: Keys,
        rates: Rates,
        wanted: Wanted,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._detector = detector
        self._models = models
        self._keys = keys
        self._rates = rates
        self._wanted = wanted
        self._rejected = metrics.rejected.labels("rate")
        self._clock = clock
        self._client = wanted.client
        self.renew()
        self.served: Served = models.resolve(wanted.options.model, wanted.options.version)
        self._options = wanted.options
        self._chosen: PostprocessOptions = resolve_options(self._options, self.served.spec)

    def renew(self) -> None:
        """Who asks, by what the key says now. Raises Unauthenticated where it is gone, and Forbidden."""
        self._client = self._keys.renew(self._client)
        self._client.demand("detect")

    async def answer(self, slot: Slot) -> Answered:
        """The answer to a frame that has its deadline. Raises what the detector raises, and RateLimited."""
        assert slot.deadline is not None
        frame = slot.frame
        self._follow(frame.options or self._wanted.options)
        # Others of the stream may change them while this one waits.
        served, chosen = self.served, self._chosen
        if not slot.charged:
            await self._take()
            slot.charged = True
        with self._detector.place(slot.deadline) as place:
            detected = await self._detector.detect(
                frame.picture, served, options=chosen, deadline=slot.deadline, place=place, caching="off"
            )
        return Answered(frame.emptied(), detected, served, self._clock() - frame.received_at)

    def _follow(self, options: DetectOptions) -> None:
        """What is current now; a promotion in mid-stream takes effect from frame to frame."""
        served = self._models.resolve(self._wanted.options.model, self._wanted.options.version)
        if served.spec is not self.served.spec or options is not self._options:
            self._chosen = resolve_options(options, served.spec)
        self.served, self._options = served, options

    async def _take(self) -> None:
        try:
            await self._rates.take(self._client, peer=self._wanted.peer)
        except RateLimited:
            self._rejected.inc()
            raise
