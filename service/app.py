"""The composition root: the one place that reads Settings and builds objects, and the order they start and stop in.

    settings → metrics, engine (loaded models), threads → batcher → detector → models → HTTP

Start: models compile, known images are run, then the door opens. Stop, on SIGTERM: not ready, then the door closes,
then what was accepted finishes, then everything closes in reverse.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from service.api import DetectRoute, Limits, Routes, StatusRoutes, build_api
from service.batching import Batcher, Bounds, OldestFirst
from service.detector import Detector
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions, usable_cores
from service.engine.protocol import Target
from service.engine.repository import model_names, open_model
from service.metrics import Metrics
from service.models import Models
from service.settings import Settings
from service.vision.detections import Candidates

logger = logging.getLogger(__name__)

VERSION = version("yolov7-service")


class Service:
    """All that works, built from the settings. The constructor blocks for the seconds that compiling takes.

    `names`: the models to serve, the default one first; all of the repository where none is given. Raises StartError.
    """

    def __init__(self, settings: Settings, names: Sequence[str] = ()) -> None:
        self.settings = settings
        self.draining = False
        # The default model goes first, so that a wrong name is told before anything is compiled.
        wanted = names or (settings.default_model, *model_names(settings.model_repository))
        stored = [open_model(settings.model_repository, name) for name in dict.fromkeys(wanted)]
        self.metrics = Metrics(CollectorRegistry())
        self.engine = EmbeddedEngine(_engine_options(settings))
        for model in stored:
            self.engine.load(model)
        passport = self.engine.passport
        # The worker threads are the parallelism; OpenCV's own pool within each of them would only compete with it.
        cv2.setNumThreads(1)
        self.threads = ThreadPoolExecutor(settings.worker_threads or usable_cores(), thread_name_prefix="worker")
        self.batcher: Batcher[Target, NDArray[np.uint8], Candidates] = Batcher(
            self.engine.infer,
            OldestFirst(passport.max_batch_size),
            bounds=Bounds(waiting=settings.queue_capacity, running=passport.parallelism),
            metrics=self.metrics,
        )
        self.detector = Detector(
            self.batcher,
            self.threads,
            places=settings.max_in_flight,
            max_pixels=settings.max_pixels,
            metrics=self.metrics,
        )
        self.models = Models(
            [model.spec for model in stored],
            self.detector,
            passport,
            interval_s=settings.known_image_interval_s,
            metrics=self.metrics,
        )
        self.metrics.build_info.labels(VERSION, passport.engine, passport.precision).set(1)

    async def start(self) -> None:
        """Runs the known images, once now and then on their timer."""
        await self.models.start()

    async def aclose(self) -> None:
        """Finishes what was accepted and frees everything, last built first."""
        await self.models.aclose()
        await self.batcher.aclose()
        await self.engine.aclose()
        await asyncio.to_thread(self.threads.shutdown)

    def reasons(self) -> dict[str, str]:
        """Why the service is not ready, by what is amiss; empty when it is."""
        return {"service": "shutting down"} if self.draining else self.models.reasons()


def build_application(service: Service) -> FastAPI:
    """The ASGI application, which starts and closes the service with its lifespan."""
    settings = service.settings
    limits = Limits(
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        timeout_s=settings.request_timeout_ms / 1000,
        max_timeout_s=settings.max_request_timeout_ms / 1000,
    )
    detect = DetectRoute(
        service.detector, service.models, limits=limits, threads=service.threads, metrics=service.metrics
    )
    status = StatusRoutes(service.models, service.metrics, service.reasons)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.aclose()
        logger.info("closed")

    return build_api(Routes(detect, status), service.metrics, version=VERSION, lifespan=lifespan)


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM or SIGINT turns not ready first and closes the door after `drain_delay_s`."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._closes_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one ends at once."""
        if self._closes_at is not None:
            self.should_exit = self.force_exit = True
            return
        self._service.draining = True
        self._closes_at = time.monotonic() + self._service.settings.drain_delay_s

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if self._closes_at is not None and time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(settings: Settings) -> None:
    """Serves until a signal ends it. Raises StartError before the door opens."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logger.info("yolov7-service %s with %s", VERSION, settings.as_line())
    service = Service(settings)
    logger.info("engine %s", service.engine.passport)
    config = uvicorn.Config(
        build_application(service),
        host=settings.host,
        port=settings.port,
        loop="auto",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )
    Server(config, service).run()


def _engine_options(settings: Settings) -> EmbeddedOptions:
    return EmbeddedOptions(
        precision=settings.precision,
        streams=settings.streams,
        max_batch_size=settings.max_batch_size,
        cache_dir=_writable(settings.openvino_cache_dir.expanduser()),
    )


def _writable(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        logger.warning("compiled models are not kept for the next start: %s", exc)
        return None
    return folder
