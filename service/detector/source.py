"""Where a picture's candidates come from: the cache, a flight under way, or the engine.

    key → memory → flight → shared cache ∥ decode and letterbox (a worker thread) → batch → engine → put

Candidates are what the network says before any threshold, so one entry serves every request for the picture. Knows
nothing of thresholds, places or transports.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.batching import Ahead, Batcher
from service.cache import CachedImage, CacheKeys, CandidateCache
from service.detector.flight import Flight, Flights
from service.detector.preparation import ImageLimits, Picture, Prepared, prepare
from service.engine.protocol import ModelVersion, Passport, Target
from service.errors import DeadlineExceeded
from service.metrics import Metrics
from service.tracing import Trace, current_trace
from service.vision.detections import Candidates
from service.vision.raw import RawImage
from service.vision.spec import ModelSpec

T = TypeVar("T")
Caching = Literal["use", "refresh", "off"]
CacheResult = Literal["hit_memory", "hit_redis", "miss", "collapsed", "refresh", "off"]
DetectorBatcher = Batcher[Target, NDArray[np.uint8], Candidates]

# Hashing more than this takes longer than handing it to a thread.
HASHED_IN_PLACE_BYTES = 1 << 20
# What the shared cache is given before decoding starts beside it: a hit then costs no decoding, a miss next to nothing.
HEAD_START_S = 0.002
# Weight of the latest picture in the mean time that preparing one takes.
LEARN = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model version that requests may be sent to: its spec, and what the engine says of it."""

    spec: ModelSpec
    passport: Passport

    @property
    def model(self) -> ModelVersion:
        """Its name and version."""
        return ModelVersion(self.spec.name, self.spec.version)


@dataclass(frozen=True, slots=True)
class Found:
    """`stage_seconds` are those that this request itself waited for, among decode, preprocess, cache and infer.

    `trace` is of the request in whose name it was found.
    """

    entry: CachedImage
    stage_seconds: dict[str, float]
    result: CacheResult
    trace: Trace | None = field(default_factory=current_trace)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be inferred, and where the answer is to be put, if anywhere."""

    picture: Picture
    served: Served
    key: bytes | None
    result: CacheResult


class CandidateSource:
    """Without a cache every picture is inferred. `executor` prepares `thread_count` pictures at once."""

    def __init__(
        self,
        batcher: DetectorBatcher,
        executor: Executor,
        *,
        thread_count: int = 1,
        limits: ImageLimits,
        metrics: Metrics,
        cache: CandidateCache | None,
        keys: CacheKeys,
    ) -> None:
        self._batcher = batcher
        self._executor = executor
        self._thread_count = thread_count
        self._limits = limits
        self._metrics = metrics
        self._cache = cache
        self._keys = keys
        self._flights: Flights[bytes, Found] = Flights()
        self._preparing = 0
        self._prepare_s = 0.0

    def ahead(self, arriving: int) -> Ahead:
        """What is on its way to the batcher's queue, together with `arriving` pictures."""
        return Ahead(self._preparing + arriving, self._prepare_s / self._thread_count)

    def has_room(self, arriving: int) -> bool:
        """Whether a picture that came now, after so many others, would wait neither for a thread nor for the engine."""
        ahead = self._preparing + arriving
        return ahead < self._thread_count and self._batcher.has_room(ahead)

    async def find(self, picture: Picture, served: Served, *, deadline: float, caching: Caching) -> Found:
        """The candidates of a picture; bare pixels are never cached. The deadline is the caller's to keep.

        Raises ImageError, Overloaded, Draining, EngineFailed and DeadlineExceeded.
        """
        started_at = time.monotonic()
        if self._cache is None or caching == "off" or isinstance(picture, RawImage):
            self._metrics.cache.labels("off").inc()
            return await self._infer(_Wanted(picture, served, None, "off"), Flight(deadline))
        key = await self._key(picture, served)
        if caching == "refresh":
            self._metrics.cache.labels("refresh").inc()
            return await self._infer(_Wanted(picture, served, key, "refresh"), Flight(deadline))
        entry = self._cache.lookup_memory(key)
        looked_up_at = time.monotonic()
        stages = {"cache": looked_up_at - started_at}
        trace = current_trace()
        if trace is not None:
            trace.stage("cache", started_at, looked_up_at)
        if entry is not None:
            return Found(entry, stages, "hit_memory")
        wanted = _Wanted(picture, served, key, "miss")
        found, joined = await self._flights.share(key, deadline, lambda flight: self._race(wanted, flight))
        if joined:
            self._metrics.cache.labels("collapsed").inc()
            if trace is not None:
                trace.stage("queue", looked_up_at, time.monotonic(), link=found.trace)
            return Found(found.entry, stages, "collapsed")
        stages["cache"] += found.stage_seconds.get("cache", 0.0)
        return Found(found.entry, found.stage_seconds | stages, found.result)

    async def _key(self, data: bytes, served: Served) -> bytes:
        def make() -> bytes:
            return self._keys.make(data, served.spec, engine=served.passport.computes)

        return make() if len(data) <= HASHED_IN_PLACE_BYTES else await self._in_thread(make)

    async def _race(self, wanted: _Wanted, flight: Flight[Found]) -> Found:
        """The shared cache has the time that decoding takes; what it answers later is a miss."""
        assert self._cache is not None
        assert wanted.key is not None
        if not self._cache.is_shared:
            self._metrics.cache.labels("miss").inc()
            return await self._infer(wanted, flight)
        started_at = time.monotonic()
        look_up = asyncio.get_running_loop().create_task(self._cache.lookup_shared(wanted.key))
        try:
            await asyncio.wait([look_up], timeout=HEAD_START_S)
            waited_s = time.monotonic() - started_at
            trace = current_trace()
            if trace is not None:
                trace.stage("cache", started_at, started_at + waited_s)
            if look_up.done() and (entry := look_up.result()) is not None:
                return Found(entry, {"cache": waited_s}, "hit_redis")
            found = await self._infer(wanted, flight, look_up)
            return Found(found.entry, {**found.stage_seconds, "cache": waited_s}, found.result)
        finally:
            look_up.cancel()

    async def _infer(
        self, wanted: _Wanted, flight: Flight[Found], look_up: asyncio.Task[CachedImage | None] | None = None
    ) -> Found:
        served = wanted.served
        self._preparing += 1
        try:
            prepared = await self._in_thread(lambda: self._prepare(wanted, flight))
        finally:
            self._preparing -= 1
        self._prepare_s += (prepared.decode_s + prepared.preprocess_s - self._prepare_s) * LEARN
        stages = {"decode": prepared.decode_s, "preprocess": prepared.preprocess_s}
        trace = current_trace()
        if trace is not None:
            trace.stages_until(time.monotonic(), stages)
        if look_up is not None and look_up.done() and (entry := look_up.result()) is not None:
            return Found(entry, stages, "hit_redis")
        target = Target(served.model, prepared.letterbox.shape_hw)
        queued = self._batcher.enqueue(prepared.pixels, group=target, deadline=flight.deadline)
        flight.carries(queued)
        if trace is not None:
            trace.waits_with(prepared.pixels)
        answer = await self._batcher.wait(queued)
        self._metrics.inferences.labels(*served.model).inc()
        entry = CachedImage.of(
            answer.result, image_hw=prepared.letterbox.image_hw, shape_hw=prepared.letterbox.shape_hw
        )
        if self._cache is not None and wanted.key is not None:
            self._cache.put(wanted.key, entry)
        return Found(entry, {**stages, "infer": answer.inferred_s}, wanted.result)

    def _prepare(self, wanted: _Wanted, flight: Flight[Found]) -> Prepared:
        # It may have waited for its thread until nobody waits for it any more.
        if time.monotonic() >= flight.deadline:
            raise DeadlineExceeded("the deadline passed before the picture was decoded")
        return prepare(wanted.picture, wanted.served.spec, self._limits)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
