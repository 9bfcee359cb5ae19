"""End to end: files of pictures in, detections out, with the service's own decoder, letterbox and postprocessing.

A pool of threads decodes and letterboxes the next batch into memory that the card reads by itself while this batch is
computed; NMS runs in the same pool. Weights are random, so the threshold set so that about a hundred
candidates of a picture are above it, as many as a busy street gives.
"""

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from gpu_engines import Engine

from service.vision.detections import Candidates, Detections
from service.vision.encode import encode_picture
from service.vision.image import decode
from service.vision.letterbox import Letterbox
from service.vision.postprocess import PostprocessOptions, postprocess
from service.vision.spec import generate_image

_CONTENDERS = 100
_TRIAL = 2


class PictureRounds:
    """Rounds, of batches from files to detections. Two batches and the answers lie in pinned memory."""

    def __init__(self, engine: Engine, size_hw: tuple[int, int], device: torch.device, seconds: float) -> None:
        self.engine = engine
        self._seconds, self._device = seconds, device
        self.files = [encode_picture(generate_image(seed, size_hw), "image/jpeg") for seed in range(4)]
        height, width = engine.images.shape[1:3]
        self.letterbox = Letterbox.fit(size_hw, (height, width))
        pinned = device.type == "cuda"
        self._slots = [torch.empty(engine.images.shape, dtype=torch.uint8, pin_memory=pinned) for _ in range(2)]
        self._answers = [torch.empty(out.shape, dtype=out.dtype, pin_memory=pinned) for out in engine.outputs]
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "pictures")
        self._count = 0
        self.lone_ms: list[float] = []
        self.found: list[Detections] = []
        self._options = PostprocessOptions()
        self.threshold = self._hundredth()
        self._options = PostprocessOptions(confidence=self.threshold)

    def __call__(self) -> float:
        """See Rounds; a round takes about ``seconds``."""
        if not self._count:
            self._count = max(_TRIAL, round(self._seconds / (self._stream(_TRIAL) / _TRIAL)))
        self.lone_ms.append(1e3 * self._stream(1))
        return 1e3 * self._stream(self._count) / self._count

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _stream(self, batches: int) -> float:
        """Seconds from the first file to the last detection; the next batch is decoded while one is computed."""
        started = time.perf_counter()
        loading = self._load(0)
        for index in range(batches):
            for one in loading:
                one.result()
            self._queue(self._slots[index % 2])
            # The other slot is free: its copy to the card was waited for with the batch before.
            loading = self._load((index + 1) % 2) if index + 1 < batches else []
            self._finish()
        return time.perf_counter() - started

    def _load(self, slot: int) -> list[Future[None]]:
        batch = self._slots[slot].numpy()
        return [self._pool.submit(self._lay, self.files[index % 4], out) for index, out in enumerate(batch)]

    def _lay(self, file: bytes, out: np.ndarray) -> None:
        self.letterbox.apply(decode(file), out)

    def _queue(self, batch: torch.Tensor) -> None:
        self.engine.images.copy_(batch, non_blocking=True)
        self.engine.run()
        for answer, output in zip(self._answers, self.engine.outputs, strict=True):
            answer.copy_(output, non_blocking=True)

    def _finish(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        self.found = list(self._pool.map(self._suppress, self._candidates()))

    def _suppress(self, candidates: Candidates) -> Detections:
        return postprocess(candidates, self.letterbox, self._options)

    def _candidates(self) -> Iterator[Candidates]:
        for arrays in zip(*(answer.numpy() for answer in self._answers), strict=True):
            yield Candidates(*arrays)

    def _hundredth(self) -> float:
        """The score of a picture's hundredth candidate, on average."""
        self._stream(1)
        return statistics.mean(float(np.sort(one.scores)[-min(_CONTENDERS, len(one))]) for one in self._candidates())
