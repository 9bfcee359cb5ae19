"""The models that are served: which versions are loaded, which of them is current, and whether each still sees.

    repository on disk ──► which versions there are, and which one is current (spec.json)
    engine             ──► which versions are loaded; with Triton also by other gateways, so it is asked again and again
    known images       ──► which of them are ready

Loading, promoting and unloading drop no request: a version serves only once its known image has come out right, and
leaves only once nobody uses it. A model that cannot be loaded says why and harms no other.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from service.detector import Detector, Served
from service.engine.protocol import Engine, ModelVersion
from service.engine.repository import current_mark, make_current, model_names, open_model, version_names
from service.errors import (
    EngineFailed,
    ModelConflict,
    ModelNotReady,
    Overloaded,
    RepositoryError,
    ServiceError,
    UnknownModel,
)
from service.metrics import Metrics
from service.models.known import look
from service.models.model import Model

logger = logging.getLogger(__name__)

# How often the repository and the engine are asked what there is, and a model that is not ready is looked at again.
RECONCILE_S = 5.0
RETRY_S = 1.0
# How long the start waits for the models beside the default one.
START_S = 30.0
# How long an unload waits for those who still use the version.
UNLOAD_S = 60.0


class Models:
    """Iterating yields the versions that are loaded, or should be, in order of name and version."""

    def __init__(self, root: Path, engine: Engine, detector: Detector, *, interval_s: float, metrics: Metrics) -> None:
        self._root = root
        self._engine = engine
        self._detector = detector
        self._interval_s = interval_s
        self._metrics = metrics
        self._models: dict[ModelVersion, Model] = {}
        self._current: dict[str, str] = {}
        # What each spec.json said when it was last looked at.
        self._marks: dict[str, tuple[str, int] | None] = {}
        self._largest: dict[ModelVersion, int] = {}
        self._default = ""
        self._changing = asyncio.Lock()
        self._looked = asyncio.Event()
        self._timer: asyncio.Task[None] | None = None
        self.broken: dict[str, str] = {}

    def __iter__(self) -> Iterator[Model]:
        return iter(sorted(self._models.values(), key=lambda model: (model.key.name, int(model.key.version))))

    @property
    def default(self) -> str:
        """The name of the model of requests that name none."""
        return self._default

    async def start(self, names: Sequence[str]) -> None:
        """Loads the current version of each model and runs the known images; then on a timer.

        Returns once the default model, the first, was looked at, and the others too unless they take longer than
        `START_S`: one that hangs keeps no other waiting. Raises RepositoryError where the default model is missing or
        damaged; of another one it is only told.
        """
        self._default = names[0]
        for name in dict.fromkeys(names):
            # Before the rest, so that a promotion in between is still followed.
            self._marks[name] = current_mark(self._root, name)
            try:
                self._add(Model(await asyncio.to_thread(open_model, self._root, name)))
            except RepositoryError as exc:
                if name == self._default:
                    raise
                self.broken[name] = str(exc)
                logger.error("model %s cannot be served: %s", name, exc)
        for model in self:
            self._current[model.key.name] = model.key.version
        default = self.find(self._default)
        await self.check([default])
        if default.lasting:
            raise RepositoryError(default.reason)
        self._timer = asyncio.get_running_loop().create_task(self._watch())
        self._timer.add_done_callback(_tell)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), START_S)

    async def aclose(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])

    def largest(self, model: ModelVersion) -> int:
        """How many images a batch for it may hold."""
        return self._largest.get(model, 1)

    def resolve(self, name: str | None = None, version: str | None = None) -> Served:
        """What a request's model and version stand for. Raises UnknownModel and ModelNotReady."""
        model = self.find(name or self._default, version)
        if model.reason is not None:
            raise ModelNotReady(f"model {model.key} is not ready: {model.reason}")
        return model.served

    def find(self, name: str, version: str | None = None) -> Model:
        """The version of a model, the current one where none is given, ready or not. Raises UnknownModel."""
        current = self._current.get(name)
        if current is None:
            if name in self.broken:
                raise ModelNotReady(f"model {name!r} cannot be served: {self.broken[name]}")
            raise UnknownModel(f"no model {name!r}; there is {', '.join(self._current)}")
        model = self._models.get(ModelVersion(name, version or current))
        if model is None:
            loaded = ", ".join(model.key.version for model in self if model.key.name == name)
            raise UnknownModel(f"model {name!r} has no version {version!r} loaded; there is {loaded}")
        return model

    def is_current(self, model: ModelVersion) -> bool:
        """Whether requests that name no version get this one."""
        return self._current.get(model.name) == model.version

    def available(self, name: str) -> tuple[str, ...]:
        """Versions in the repository, loaded or not."""
        return version_names(self._root, name)

    def reasons(self) -> dict[str, str]:
        """Why the service is not ready, by what is amiss; empty when it is.

        Only the default model counts: one of several that fails must not take the others from their users.
        """
        reasons = {}
        default = self._models.get(ModelVersion(self._default, self._current.get(self._default, "")))
        if default is None or default.reason is not None:
            reasons[self._default or "models"] = (default and default.reason) or "nothing was loaded yet"
        if not self._detector.healthy:
            reasons["batching"] = "it has stopped"
        if self._timer is not None and self._timer.done():
            reasons["known images"] = "their timer has stopped"
        return reasons

    async def load(self, name: str, version: str | None) -> Model:
        """Loads a version from the repository and looks at its known image.

        Raises UnknownModel, ModelConflict and EngineFailed.
        """
        async with self._changing:
            return await self._bring_up(name, version)

    async def promote(self, name: str, version: str) -> Model:
        """Makes a version current, once it is loaded and its known image is right.

        Raises UnknownModel, ModelConflict and EngineFailed.
        """
        async with self._changing:
            model = await self._bring_up(name, version)
            if not model.ready:
                raise ModelConflict(f"model {model.key} is not ready and was not promoted: {model.reason}")
            try:
                await asyncio.to_thread(make_current, self._root, name, version)
            except RepositoryError as exc:
                raise ModelConflict(str(exc)) from exc
            self._marks[name] = current_mark(self._root, name)
            self._make_current(model)
            return model

    async def unload(self, name: str, version: str) -> None:
        """Takes no more requests for a version, waits for those under way, and frees it.

        Raises UnknownModel, ModelConflict for a version that is current while it has others or is the default model's,
        and EngineFailed.
        """
        async with self._changing:
            model = self.find(name, version)
            others = [other for other in self if other.key.name == name and other is not model]
            if self.is_current(model.key) and (others or name == self._default):
                raise ModelConflict(f"model {model.key} is the current version; promote another one first")
            self._drop(model)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNLOAD_S):
                    await self._detector.unused(model.key)
            await self._engine.unload(model.key)
            logger.info("model %s: unloaded", model.key)

    async def check(self, models: Iterable[Model] | None = None) -> None:
        """Runs the known images of these models, or of all, and takes down what is wrong with each."""
        # Side by side, so that one which hangs keeps no other waiting for its turn.
        await asyncio.gather(*(self._check(model) for model in (self if models is None else models)))

    async def _check(self, model: Model) -> None:
        before = model.reason
        if model.passport is None and not model.lasting:
            await self._load(model)
        if model.passport is not None:
            await self._look(model)
        if model.reason != before:
            log = logger.info if model.ready else logger.error
            log("model %s: %s", model.key, model.reason or "ready")
        if model.key in self._models:
            self._metrics.model_ready.labels(*model.key).set(model.ready)

    async def _look(self, model: Model) -> None:
        try:
            model.reason = await look(self._detector, model.served)
        except Overloaded:
            logger.info("model %s: too busy for its known image; readiness stays as it is", model.key)
        except ServiceError as exc:
            model.reason = str(exc)

    async def _load(self, model: Model) -> None:
        try:
            model.passport = await self._engine.load(model.stored)
            self._largest[model.key] = model.passport.max_batch_size
            model.reason = "its known image was not run yet"
        except RepositoryError as exc:
            model.reason, model.lasting = str(exc), True
            logger.error("model %s cannot be loaded: %s", model.key, exc)
        except EngineFailed as exc:
            model.reason = str(exc)

    async def _bring_up(self, name: str, version: str | None) -> Model:
        """Opened, loaded and looked at; what was loaded before is only looked at."""
        if name not in model_names(self._root):
            raise UnknownModel(f"no model {name!r} in the repository; there is {', '.join(model_names(self._root))}")
        if version is not None and version not in self.available(name):
            known = ", ".join(self.available(name))
            raise UnknownModel(f"model {name!r} has no version {version!r} in the repository; there is {known}")
        mark = current_mark(self._root, name)
        try:
            stored = await asyncio.to_thread(open_model, self._root, name, version)
        except RepositoryError as exc:
            raise ModelConflict(str(exc)) from exc
        key = ModelVersion(name, stored.spec.version)
        model = self._models.get(key) or Model(stored)
        if model.passport is None:
            # The files may have been put right since they were found wrong.
            model.stored, model.lasting = stored, False
            await self._load(model)
            if model.passport is None:
                error = ModelConflict if model.lasting else EngineFailed
                raise error(f"model {key} cannot be loaded: {model.reason}")
        # Known to the detector only now: until here nobody could ask for it.
        await self.check([model])
        self._add(model)
        self.broken.pop(name, None)
        if name not in self._current:
            self._marks[name], self._current[name] = mark, key.version
        return model

    def _add(self, model: Model) -> None:
        self._models[model.key] = model
        self._metrics.model_ready.labels(*model.key).set(model.ready)

    def _drop(self, model: Model) -> None:
        name = model.key.name
        del self._models[model.key]
        if not any(other.key.name == name for other in self):
            self._current.pop(name, None)
            self._marks.pop(name, None)
        self._metrics.model_ready.labels(*model.key).set(0)

    def _make_current(self, model: Model) -> None:
        self._current[model.key.name] = model.key.version
        logger.info("model %s: now the current version", model.key)

    async def _watch(self) -> None:
        checked_at = time.monotonic()
        while True:
            suspects = set(self._detector.suspects)
            self._detector.suspects.clear()
            self._detector.suspicion.clear()
            due = time.monotonic() - checked_at >= self._interval_s
            if due:
                checked_at = time.monotonic()
            async with self._changing:
                await self._reconcile()
                await self.check([model for model in self if due or not model.ready or model.key in suspects])
            self._looked.set()
            await self._pause()

    async def _pause(self) -> None:
        """Until the next look: soon where something is not ready, at once where a request met a failing engine."""
        waits = any(not model.ready and not model.lasting for model in self)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(RETRY_S if waits else RECONCILE_S, self._interval_s)):
                await self._detector.suspicion.wait()

    async def _reconcile(self) -> None:
        """Takes over what other gateways have loaded, unloaded or promoted."""
        # In this order, because a version is loaded before it is promoted: none is seen promoted but not loaded.
        marks = await asyncio.to_thread(_read_marks, self._root)
        try:
            loaded = await self._engine.loaded()
        except EngineFailed:
            return
        for key in loaded.keys() - self._models.keys():
            with contextlib.suppress(RepositoryError):
                model = Model(await asyncio.to_thread(open_model, self._root, *key), loaded[key])
                self._add(model)
                self._largest[key] = loaded[key].max_batch_size
                self._current.setdefault(key.name, key.version)
                await self.check([model])
        for name in self._current.keys() & marks.keys():
            self._follow(name, marks[name])
        for model in list(self):
            if model.passport is not None and model.key not in loaded and not self.is_current(model.key):
                self._drop(model)
                logger.info("model %s: unloaded by another gateway", model.key)

    def _follow(self, name: str, mark: tuple[str, int]) -> None:
        """Takes over a promotion: spec.json was written anew, and names a version that is loaded.

        That it merely names another version is none: an export does that too, and is not to go live by itself.
        """
        if mark == self._marks.get(name):
            return
        model = self._models.get(ModelVersion(name, mark[0]))
        if model is not None and not model.ready:
            return  # asked again when it is
        self._marks[name] = mark
        if model is not None and not self.is_current(model.key):
            self._make_current(model)


def _read_marks(root: Path) -> dict[str, tuple[str, int]]:
    marks = ((name, current_mark(root, name)) for name in model_names(root))
    return {name: mark for name, mark in marks if mark is not None}


def _tell(timer: asyncio.Task[None]) -> None:
    """Of a bug that has ended the timer; that it ended, readiness tells."""
    if not timer.cancelled() and (bug := timer.exception()) is not None:
        logger.error("the timer of the known images has stopped", exc_info=bug)
