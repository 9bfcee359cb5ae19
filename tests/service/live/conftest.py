"""A sender and a reader of a stream, both moved by hand, and what opens one on a service."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.access import Client, Keys
from service.app import Service
from service.detector.options import DetectOptions
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import Target
from service.live import Answered, Closing, Delivery, Dropped, Frame, Latest, Outcome, Stream, Streams, Wanted
from service.settings import Settings
from service.vision.detections import Candidates

PATIENT = Latest(60.0)
KEY = Client("camera", frozenset({"detect"}))


class Camera:
    """Sends what it is given, and has its answers taken while `gate` is open. `pulled` frames were read from it."""

    def __init__(self, picture: bytes) -> None:
        self._picture = picture
        self._frames: asyncio.Queue[Frame | Exception | None] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.pulled = 0
        self.answers: list[Outcome | Closing] = []

    def shoot(self, *sequences: int, picture: bytes | None = None, age_s: float = 0.0) -> None:
        for sequence in sequences:
            data = self._picture if picture is None else picture
            self._frames.put_nowait(Frame(sequence, data, time.monotonic() - age_s, captured_at=sequence / 2))

    def fail(self, error: Exception) -> None:
        self._frames.put_nowait(error)

    def leave(self) -> None:
        self._frames.put_nowait(None)

    async def frames(self) -> AsyncIterator[Frame]:
        while (frame := await self._frames.get()) is not None:
            if isinstance(frame, Exception):
                raise frame
            self.pulled += 1
            yield frame

    async def send(self, answer: Outcome | Closing) -> None:
        await self.gate.wait()
        self.answers.append(answer)

    @property
    def told(self) -> list[tuple[str, int, int]]:
        """What became of the frames, in the order it was said: kind or reason, first and last sequence number."""
        said = []
        for answer in self.answers:
            if isinstance(answer, Dropped):
                said.append((answer.reason, answer.first, answer.last))
            elif not isinstance(answer, Closing):
                kind = "answered" if isinstance(answer, Answered) else type(answer.error).__name__
                said.append((kind, answer.frame.sequence, answer.frame.sequence))
        return said


def accounted(answers: Iterable[Outcome | Closing]) -> list[int]:
    """The sequence numbers that were spoken for, where they rise by one."""
    numbers: list[int] = []
    for answer in answers:
        if isinstance(answer, Dropped):
            assert answer.count == answer.last - answer.first + 1
            numbers += range(answer.first, answer.last + 1)
        elif not isinstance(answer, Closing):
            numbers.append(answer.frame.sequence)
    return numbers


@pytest.fixture(scope="session")
def spoken_for() -> Callable[[Iterable[Outcome | Closing]], list[int]]:
    return accounted


@pytest.fixture
def make_camera(png: bytes) -> Callable[[], Camera]:
    return lambda: Camera(png)


@pytest.fixture
def camera(make_camera: Callable[[], Camera]) -> Camera:
    return make_camera()


@pytest.fixture(scope="session")
def want() -> Callable[..., Wanted]:
    """What opens a stream: (delivery, client=, name=, options)."""

    def want(delivery: Delivery = PATIENT, *, client: Client = KEY, name: str = "", **options: object) -> Wanted:
        return Wanted(DetectOptions(**options), delivery, client, "192.0.2.1", name, "grpc")

    return want


@pytest.fixture(scope="session")
def limited() -> Callable[..., Streams]:
    """Streams of their own on a service, with other keys or limits: (service, keys=, limits by name)."""

    def limited(service: Service, *, keys: Keys | None = None, **limits: object) -> Streams:
        return Streams(
            service.detector,
            service.models,
            keys=keys or service.keys,
            rates=service.rates,
            turns=service.streams._turns,
            limits=replace(service.streams.limits, **limits),
            metrics=service.metrics,
        )

    return limited


class SteppedEngine(EmbeddedEngine):
    """The real engine, one batch of one picture at a time; once `held`, each waits for a step of its own."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(EmbeddedOptions(precision="f32", streams=1, cache_dir=cache_dir))
        self.held = False
        self.begun = 0
        self._steps = asyncio.Semaphore(0)

    @property
    def parallelism(self) -> int:
        return 1

    def step(self, count: int = 1) -> None:
        """So many more batches may end."""
        for _ in range(count):
            self._steps.release()

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        if self.held:
            self.begun += 1
            await self._steps.acquire()
        return await super().infer(target, images, deadline=deadline)


@pytest.fixture
def stepped(make_settings: Callable[..., Settings]) -> SteppedEngine:
    return SteppedEngine(make_settings().openvino_cache_dir)


@pytest.fixture
def running(want: Callable[..., Wanted]) -> Callable[..., object]:
    """A stream that runs within the block, as (stream, task), and is ended with it: (service, camera, wanted...)."""

    @asynccontextmanager
    async def running(
        service: Service, camera: Camera, *wanted: object, **more: object
    ) -> AsyncIterator[tuple[Stream, asyncio.Task[None]]]:
        with service.streams.open(want(*wanted, **more)) as stream:
            task = asyncio.create_task(stream.run(camera.frames(), camera.send))
            try:
                yield stream, task
            finally:
                task.cancel()
                await asyncio.wait([task])

    return running


@pytest.fixture
def stream_once(want: Callable[..., Wanted]) -> Callable[..., Awaitable[Stream]]:
    """Runs a stream from its opening to its end: (service, camera, wanted...)."""

    async def stream_once(service: Service, camera: Camera, *wanted: object, **more: object) -> Stream:
        with service.streams.open(want(*wanted, **more)) as stream:
            await stream.run(camera.frames(), camera.send)
        return stream

    return stream_once
