"""One image in, its detections out: the one path that every transport takes.

    decode and letterbox (one step in a worker thread) → batch → engine → postprocess (a worker thread)

The detector knows no transport, no engine and no model but by its spec. It admits no more requests than there are
places, which bounds the pictures in memory and the work waiting for threads.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.batching import Batcher
from service.engine.protocol import Target
from service.errors import DeadlineExceeded, Overloaded
from service.metrics import Metrics
from service.vision.detections import Candidates, Detections
from service.vision.image import decode
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import PostprocessOptions, postprocess
from service.vision.spec import ModelSpec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Detected:
    """`detections` in pixels of the upright original, whose size is `image_hw`.

    `stage_seconds` adds up to the time spent here: what is neither decode, preprocess, infer nor postprocess was
    waiting for a thread, for the engine or for the event loop, and counts as queue.
    """

    detections: Detections
    image_hw: tuple[int, int]
    stage_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Prepared:
    letterbox: Letterbox
    pixels: NDArray[np.uint8]
    decode_s: float
    preprocess_s: float


class Detector:
    """`places` is how many requests may be in flight, `max_pixels` how large a picture may be."""

    def __init__(
        self,
        batcher: Batcher[Target, NDArray[np.uint8], Candidates],
        threads: Executor,
        *,
        places: int,
        max_pixels: int,
        metrics: Metrics,
    ) -> None:
        self._batcher = batcher
        self._threads = threads
        self._places = places
        self._max_pixels = max_pixels
        self._metrics = metrics
        self._in_flight = 0
        metrics.concurrency_limit.set(places)

    @property
    def healthy(self) -> bool:
        """False once a bug has stopped it for good."""
        return self._batcher.healthy

    @contextmanager
    def place(self) -> Iterator[None]:
        """Holds one of the places. A transport takes it before it reads an image. Raises Overloaded at once."""
        if self._in_flight >= self._places:
            self._metrics.rejected.labels("places").inc()
            raise Overloaded(f"{self._places} requests are in flight already")
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    async def detect(self, data: bytes, spec: ModelSpec, *, options: PostprocessOptions, deadline: float) -> Detected:
        """Detects in one encoded image. `deadline` is a reading of time.monotonic().

        Raises ImageError, Overloaded, Draining, EngineFailed, and DeadlineExceeded at the deadline.
        """
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(deadline - started_at):
                prepared = await self._in_thread(lambda: self._prepare(data, spec))
                target = Target(spec.name, spec.version, prepared.letterbox.shape_hw)
                answer = await self._batcher.submit(prepared.pixels, group=target, deadline=deadline)
                detections, postprocess_s = await self._in_thread(
                    lambda: _timed(lambda: postprocess(answer.result, prepared.letterbox, options))
                )
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the image was done") from None
        work = {
            "decode": prepared.decode_s,
            "preprocess": prepared.preprocess_s,
            "infer": answer.inferred_s,
            "postprocess": postprocess_s,
        }
        waited_s = time.monotonic() - started_at - sum(work.values())
        stages = {name: work.get(name, waited_s) for name in ("decode", "preprocess", "queue", "infer", "postprocess")}
        self._observe(prepared.letterbox.image_hw, detections, stages)
        return Detected(detections, prepared.letterbox.image_hw, stages)

    async def infer(self, pixels: NDArray[np.uint8], spec: ModelSpec, *, deadline: float) -> Candidates:
        """Candidates of one image that is letterboxed already, (H, W, 3) uint8 in one of the spec's input shapes."""
        target = Target(spec.name, spec.version, (pixels.shape[0], pixels.shape[1]))
        return (await self._batcher.submit(pixels, group=target, deadline=deadline)).result

    def _prepare(self, data: bytes, spec: ModelSpec) -> _Prepared:
        image, decode_s = _timed(lambda: decode(data, max_pixels=self._max_pixels))
        image_hw = image.shape[0], image.shape[1]
        letterbox = Letterbox.fit(image_hw, choose_shape(image_hw, spec.input_shapes))
        pixels, preprocess_s = _timed(lambda: letterbox.apply(image))
        return _Prepared(letterbox, pixels, decode_s, preprocess_s)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _observe(self, image_hw: tuple[int, int], detections: Detections, stages: dict[str, float]) -> None:
        self._metrics.image_pixels.observe(image_hw[0] * image_hw[1])
        self._metrics.detections.observe(len(detections))
        self._metrics.observe_stages(stages)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started_at = time.monotonic()
    return work(), time.monotonic() - started_at
