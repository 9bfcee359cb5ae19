"""An engine that only sleeps, and our service with it: what is left is decode, letterbox, queue and transport.

    .venv/bin/python bench/sleeping.py --port 8126 --sleep-ms 2 --model-repository /tmp/repository --default-model tiny

takes every other flag of ``yolov7-service serve`` too. Each image is answered the model's known candidates, so that
readiness is satisfied, and fixed ones: some twenty lie above the usual confidence, as many as the others are given, so
that there is something to suppress.
"""

import argparse
import asyncio
from collections.abc import Mapping, Sequence, Set

import numpy as np
import uvicorn
from numpy.typing import NDArray
from rivals.engines import CANDIDATES, FIXED

from service.app import Service, build_application
from service.app.grpc import build_grpc
from service.app.protocol import BoundedProtocol
from service.app.server import Server
from service.engine.cores import usable_cores
from service.engine.protocol import ModelVersion, Passport, Target
from service.engine.repository import StoredModel
from service.settings import Settings, add_flags, given_flags
from service.vision.detections import Candidates

MAX_BATCH_SIZE = 16


class SleepingEngine:
    """An Engine. A batch takes ``seconds``, whatever its size; ``parallelism`` of them run at a time."""

    def __init__(self, *, seconds: float, parallelism: int = 1) -> None:
        self._seconds = seconds
        self._parallelism = parallelism
        self._places = asyncio.Semaphore(parallelism)
        self._answers: dict[Target, Candidates] = {}
        self._passports: dict[ModelVersion, Passport] = {}

    @property
    def parallelism(self) -> int:
        """See Engine."""
        return self._parallelism

    @property
    def shared(self) -> bool:
        """See Engine."""
        return False

    @property
    def wanted(self) -> Set[ModelVersion]:
        """See Engine."""
        return frozenset()

    async def start(self) -> None:
        """See Engine."""

    async def load(self, stored: StoredModel) -> Passport:
        """See Engine."""
        spec = stored.spec
        model = ModelVersion(spec.name, spec.version)
        for known in spec.known_images:
            self._answers[Target(model, known.shape_hw)] = _padded(known.candidates)
        return self._passports.setdefault(model, Passport("sleeping", "none", "f32", MAX_BATCH_SIZE))

    async def unload(self, model: ModelVersion) -> None:
        """See Engine."""
        self._passports.pop(model, None)

    async def loaded(self) -> Mapping[ModelVersion, Passport]:
        """See Engine."""
        return dict(self._passports)

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        """See Engine."""
        async with self._places:
            await asyncio.sleep(self._seconds)
        return [self._answers[target]] * len(images)

    async def aclose(self) -> None:
        """See Engine."""


def _padded(known: Candidates) -> Candidates:
    """The fixed rows, the best of them replaced by the known ones; best first."""
    rows = [
        np.concatenate([getattr(known, name), getattr(FIXED, name)[len(known.scores) :]])
        for name in ("boxes", "scores", "classes")
    ]
    order = np.argsort(-rows[1], kind="stable")
    boxes, scores, classes = (row[order] for row in rows)
    return Candidates(boxes, scores, classes, np.arange(CANDIDATES, dtype=np.int32))


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sleep-ms", type=float, default=2.0)
    parser.add_argument("--parallelism", type=int, default=1)
    add_flags(parser)
    arguments = parser.parse_args()
    engine = SleepingEngine(seconds=arguments.sleep_ms / 1000, parallelism=arguments.parallelism)
    # As beside an engine that leaves the cores alone.
    settings = Settings.load({"worker_threads": str(usable_cores())} | given_flags(arguments))
    service = Service(settings, engine=engine)
    # As service.app.server has it.
    config = uvicorn.Config(
        build_application(service),
        host=settings.host,
        port=settings.port,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    Server(config, service, grpc=build_grpc(service) if settings.grpc else None).run()


if __name__ == "__main__":
    main()
