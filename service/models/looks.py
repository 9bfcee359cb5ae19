"""When each model is loaded and looked at, and what is noted of it. Knows no repository, version or promotion.

Each look is a task of its own and holds only its own model, so that one which hangs, or loads for minutes, keeps no
other waiting. A model is looked at no more often than every `least_s`, however many requests complain of it.
"""

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from functools import partial
from math import nan

from prometheus_client import Gauge

from service.detector import Detector
from service.detector.sightings import class_labels
from service.engine.protocol import Engine, ModelVersion
from service.errors import EngineDown, EngineFailed, Overloaded, RepositoryError, ServiceError
from service.metrics import SHARED, Metrics
from service.models.known import look
from service.models.model import Model, Sight
from service.models.reference import read_reference

logger = logging.getLogger(__name__)

# Between attempts at a model that the engine refuses to load, which may cost it a lot each time.
FIRST_PAUSE_S = 1.0
LAST_PAUSE_S = 30.0


class Looks:
    """`begin` looks from tasks that `aclose` ends; `look` looks at once. `bug` is what a look ended of unforeseen."""

    def __init__(self, engine: Engine, detector: Detector, *, least_s: float, metrics: Metrics) -> None:
        self._engine = engine
        self._detector = detector
        self._least_s = least_s
        self._metrics = metrics
        self._tasks: dict[ModelVersion, asyncio.Task[None]] = {}
        self.ended = asyncio.Event()
        self.bug: BaseException | None = None

    def begin(self, models: Iterable[Model]) -> set[ModelVersion]:
        """Those of them whose time it is, side by side; returns which. `ended` is set at the end of each."""
        now = time.monotonic()
        begun = set()
        for model in models:
            if model.key not in self._tasks and now >= model.looked_at + self._least_s:
                task = asyncio.get_running_loop().create_task(self.look(model))
                self._tasks[model.key] = task
                task.add_done_callback(partial(self._end, model.key))
                begun.add(model.key)
        return begun

    def next_in(self, models: Iterable[Model]) -> float:
        """Seconds until the first of them may be looked at; for ever for those that are being looked at."""
        now = time.monotonic()
        waits = (model.looked_at + self._least_s - now for model in models if model.key not in self._tasks)
        return max(min(waits, default=float("inf")), 0.0)

    async def settle(self, timeout_s: float) -> None:
        """Returns once all that began has ended, or after so long."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=timeout_s)

    async def look(self, model: Model) -> None:
        """Loads it where that is due, runs its known images, and notes what is wrong."""
        async with model.looking:
            before = model.reason
            if model.passport is None and not model.lasting and time.monotonic() >= model.load_at:
                await self._load(model)
            if model.passport is not None:
                model.reference = await asyncio.to_thread(read_reference, model.stored.onnx)
                await self._run_known_images(model)
            model.looked_at = time.monotonic()
            if model.reason != before:
                log = logger.info if model.ready else logger.error
                log("model %s: %s", model.key, model.reason or "ready")
            if model.listed:
                self.show(model)

    async def look_at(self, models: Iterable[Model]) -> None:
        """Looks at these, side by side."""
        await asyncio.gather(*(self.look(model) for model in models))

    def show(self, model: Model) -> None:
        """Says in the metrics how it is, and what it is expected to see."""
        metrics = self._metrics
        metrics.model_ready.labels(*model.key).set(model.ready)
        metrics.reloads.labels(model.key.name)  # there from the start, at 0
        if model.sees is not None:
            metrics.known_image.labels(*model.key).set(model.sees.found)
            metrics.known_image_at.labels(*model.key).set(model.sees.at)
        if model.reference is not None:
            metrics.expected_score.labels(*model.key).set(model.reference.score)
            metrics.expected_size.labels(*model.key).set(model.reference.size)
            for name in class_labels(model.spec.class_names):
                metrics.expected_class.labels(*model.key, name).set(model.reference.classes.get(name, 0.0))

    def forget(self, model: Model) -> None:
        """Ends the look at a model that is no longer served, and takes it from the metrics: its 0 would be an alarm."""
        if (task := self._tasks.get(model.key)) is not None:
            task.cancel()
        metrics = self._metrics
        for gauge in (metrics.model_ready, metrics.known_image, metrics.known_image_at):
            _clear(gauge, *model.key)
        for gauge in (metrics.expected_score, metrics.expected_size) if model.reference is not None else ():
            _clear(gauge, *model.key)
        for name in class_labels(model.spec.class_names) if model.reference is not None else ():
            _clear(metrics.expected_class, *model.key, name)

    async def aclose(self) -> None:
        """Ends all looks under way."""
        tasks = set(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run_known_images(self, model: Model) -> None:
        served = model.served
        try:
            reason = await look(self._detector, served)
            model.sees = Sight(reason is None, time.time())
        except Overloaded:
            logger.info("model %s: too busy for its known image; readiness stays as it is", model.key)
            return
        except ServiceError as exc:
            reason = str(exc)
        # The engine may have lost or replaced it meanwhile: then this says nothing of what is there now.
        if model.passport is served.passport:
            model.reason = reason

    async def _load(self, model: Model) -> None:
        try:
            model.passport = await self._engine.load(model.stored)
            model.reason, model.load_pause_s = "its known image was not run yet", FIRST_PAUSE_S
        except RepositoryError as exc:
            model.reason, model.lasting = str(exc), True
            logger.error("model %s cannot be loaded: %s", model.key, exc)
        except EngineDown as exc:
            model.reason = str(exc)  # to ask again costs nothing
        except EngineFailed as exc:
            model.reason, model.load_at = str(exc), time.monotonic() + model.load_pause_s
            model.load_pause_s = min(2 * model.load_pause_s, LAST_PAUSE_S)

    def _end(self, key: ModelVersion, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        if not task.cancelled() and (bug := task.exception()) is not None:
            self.bug = bug
        self.ended.set()


def _clear(gauge: Gauge, *labels: str) -> None:
    # With several processes a series cannot be removed: the other process' file would have to forget it too.
    if SHARED in os.environ:
        gauge.labels(*labels).set(nan)
    else:
        gauge.remove(*labels)
