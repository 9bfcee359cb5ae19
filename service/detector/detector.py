"""The one path that every transport takes: a place, the candidates of the picture, this request's detections.

The detector knows no transport, no engine and no model but by its spec. It admits no more requests than there are
places, nor any that could not be answered in time, which bounds the pictures in memory and the work that waits for
threads.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.cache import CachedImage, CacheKeys, CandidateCache
from service.detector.places import Place, Places
from service.detector.preparation import ImageLimits, Picture, decode_within
from service.detector.sightings import Sightings
from service.detector.source import CacheResult, Caching, CandidateSource, DetectorBatcher, Served
from service.engine.protocol import ModelVersion, Target
from service.errors import DeadlineExceeded, EngineFailed
from service.metrics import Metrics
from service.tracing import current_trace
from service.vision.detections import Candidates, Detections
from service.vision.draw import draw
from service.vision.encode import encode_picture
from service.vision.letterbox import Letterbox
from service.vision.postprocess import PostprocessOptions, count_contenders, postprocess
from service.vision.spec import ModelSpec

T = TypeVar("T")

# Candidates so few that suppressing them takes less than handing them to a thread.
POSTPROCESSED_IN_PLACE = 64
# A healthy engine answers within this; a deadline that is shorter says nothing of the engine when it passes.
PATIENT_S = 2.0
STAGES = ("decode", "preprocess", "cache", "queue", "infer", "postprocess")


@dataclass(frozen=True, slots=True)
class Detected:
    """`detections` in pixels of the upright original, whose size is `image_hw`.

    `stage_seconds` adds up to the time spent here: what is neither decode, preprocess, cache, infer nor postprocess was
    waiting for a thread, for the engine, for another's inference or for the event loop, and counts as queue.
    """

    detections: Detections
    image_hw: tuple[int, int]
    stage_seconds: dict[str, float]
    cache: CacheResult


class Detector:
    """`places` is how many requests may be in flight, `thread_count` how many pictures `threads` prepare at once.

    Without a cache every picture is inferred.
    """

    def __init__(
        self,
        batcher: DetectorBatcher,
        threads: Executor,
        *,
        places: int,
        thread_count: int = 1,
        limits: ImageLimits,
        metrics: Metrics,
        keys: CacheKeys,
        cache: CandidateCache | None = None,
    ) -> None:
        self._batcher = batcher
        self._threads = threads
        self._places = Places(places, metrics)
        self._limits = limits
        self._metrics = metrics
        self._sightings = Sightings(metrics)
        self._source = CandidateSource(
            batcher, threads, thread_count=thread_count, limits=limits, metrics=metrics, cache=cache, keys=keys
        )
        self._using: Counter[ModelVersion] = Counter()
        self._left: dict[ModelVersion, asyncio.Event] = {}
        self.suspects: set[ModelVersion] = set()
        self.suspicion = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """False once a bug has stopped it for good."""
        return self._batcher.healthy

    def has_room(self, arriving: int = 0) -> bool:
        """Whether a picture that came now, after so many others, would wait neither for a thread nor for the engine."""
        return self._source.has_room(arriving)

    async def unused(self, model: ModelVersion) -> None:
        """Waits until no request for it is under way."""
        while self._using[model]:
            await self._left.setdefault(model, asyncio.Event()).wait()

    @contextmanager
    def place(self, deadline: float) -> Iterator[Place]:
        """Holds one of the places. A transport takes it before it reads a picture.

        Raises Overloaded at once where there is none, or where the answer could not be ready by `deadline`.
        """
        now = time.monotonic()
        self._batcher.admit(deadline, self._source.ahead(self._places.arriving(now)))
        place = self._places.take(now)
        try:
            yield place
        finally:
            self._places.leave(place)

    async def detect(
        self,
        picture: Picture,
        served: Served,
        *,
        options: PostprocessOptions,
        deadline: float,
        place: Place,
        caching: Caching = "use",
    ) -> Detected:
        """Detects in one picture, an encoded file or bare pixels. `deadline` is a reading of time.monotonic().

        `caching`: "use" the cache, "refresh" what it holds without reading it, or leave it "off".
        Raises ImageError, Overloaded, Draining, EngineFailed, and DeadlineExceeded at the deadline.
        """
        started_at = time.monotonic()
        self._places.received(place)
        trace = current_trace()
        if trace is not None:
            trace.note({"model.name": served.model.name, "model.version": served.model.version})
        with self._used(served.model), self._sightings.picture(served.model):
            try:
                async with asyncio.timeout(deadline - started_at):
                    found = await self._source.find(picture, served, deadline=deadline, caching=caching)
                    postprocessing_at = time.monotonic()
                    detections = await self._postprocess(found.entry, options)
            except TimeoutError:
                # Whoever was patient may have met an engine that hangs.
                if deadline - started_at >= PATIENT_S:
                    self._suspect(served.model)
                raise DeadlineExceeded("the deadline passed before the image was done") from None
            except EngineFailed:
                self._suspect(served.model)
                raise
        ended_at = time.monotonic()
        if trace is not None:
            trace.stage("postprocess", postprocessing_at, ended_at)
            height, width = found.entry.image_hw
            trace.note({"image.width": width, "image.height": height, "cache": found.result})
        work = {**found.stage_seconds, "postprocess": ended_at - postprocessing_at}
        waited_s = max(ended_at - started_at - sum(work.values()), 0.0)
        stages = {name: work.get(name, waited_s if name == "queue" else 0.0) for name in STAGES}
        self._observe(found.entry.image_hw, detections, stages)
        self._sightings.answered(served, detections, found.entry.image_hw, ended_at - started_at)
        return Detected(detections, found.entry.image_hw, stages, found.result)

    async def infer(self, pixels: NDArray[np.uint8], model: ModelVersion, *, deadline: float) -> Candidates:
        """Candidates of one picture that is letterboxed already, (H, W, 3) uint8 in one of the model's input shapes."""
        target = Target(model, (pixels.shape[0], pixels.shape[1]))
        return (await self._batcher.submit(pixels, group=target, deadline=deadline)).result

    async def draw(self, picture: Picture, detected: Detected, spec: ModelSpec, media_type: str) -> bytes:
        """The upright picture with its detections drawn into it, encoded. Raises ImageError."""

        def work() -> bytes:
            drawn = draw(decode_within(picture, self._limits), detected.detections, spec.class_names)
            return encode_picture(drawn, media_type)

        return await self._in_thread(work)

    async def _postprocess(self, entry: CachedImage, options: PostprocessOptions) -> Detections:
        letterbox = Letterbox.fit(entry.image_hw, entry.shape_hw)
        if count_contenders(entry.candidates, options) <= POSTPROCESSED_IN_PLACE:
            return postprocess(entry.candidates, letterbox, options)
        # In the loop's own threads: what is nearly done does not wait behind pictures that are yet to be decoded.
        return await asyncio.to_thread(postprocess, entry.candidates, letterbox, options)

    @contextmanager
    def _used(self, model: ModelVersion) -> Iterator[None]:
        self._using[model] += 1
        try:
            yield
        finally:
            self._using[model] -= 1
            left = None if self._using[model] else self._left.pop(model, None)
            if left is not None:
                left.set()

    def _suspect(self, model: ModelVersion) -> None:
        """Somebody should look at its known image now."""
        self.suspects.add(model)
        self.suspicion.set()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _observe(self, image_hw: tuple[int, int], detections: Detections, stages: dict[str, float]) -> None:
        self._metrics.image_pixels.observe(image_hw[0] * image_hw[1])
        self._metrics.detections.observe(len(detections))
        self._metrics.observe_stages(stages)
