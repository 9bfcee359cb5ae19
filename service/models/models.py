"""The models that are served: which versions are loaded, which of them is current, and whether each still sees.

    repository on disk ──► which versions there are, and which one is current (spec.json)
    engine             ──► which versions are loaded; with Triton also by other gateways, so it is asked again and again
    known images       ──► which of them are ready

Loading, promoting and unloading drop no request: a version serves only once its known image has come out right, and
leaves only once nobody uses it, of this gateway or of others on the same engine. A model that cannot be loaded says why
and harms no other. Admin calls wait for each other; readiness waits for none of them.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from service.detector import Detector, Served
from service.engine.protocol import Engine, ModelVersion, Passport
from service.engine.repository import current_mark, make_current, model_names, open_model, version_names
from service.errors import (
    EngineFailed,
    ModelConflict,
    ModelNotReady,
    RepositoryError,
    UnknownModel,
)
from service.metrics import Metrics
from service.models.current import Current, read_marks
from service.models.looks import Looks
from service.models.model import Model

logger = logging.getLogger(__name__)

# How often the repository and the engine are asked what there is.
RECONCILE_S = 5.0
# How often that is while something is not ready, and at most; and how often at most one model is looked at.
RETRY_S = 1.0
# In how many of these intervals every gateway follows a promotion, and ends what it had begun for the version before.
FOLLOWED = 2.0
# How long the start waits for the models beside the default one.
START_S = 30.0
# How long an unload waits for those who still use the version.
UNLOAD_S = 60.0


class Models:
    """Iterating yields the versions that are loaded, or should be, in order of name and version."""

    def __init__(
        self,
        root: Path,
        engine: Engine,
        detector: Detector,
        *,
        interval_s: float,
        metrics: Metrics,
        reconcile_s: float = RECONCILE_S,
    ) -> None:
        self._root = root
        self._engine = engine
        self._detector = detector
        self._interval_s = interval_s
        self._reconcile_s = reconcile_s
        self._retry_s = min(RETRY_S, reconcile_s, interval_s)
        self._looks = Looks(engine, detector, least_s=self._retry_s, metrics=metrics)
        self._models: dict[ModelVersion, Model] = {}
        self._current = Current()
        self._default = ""
        self._changing = asyncio.Lock()
        self._reconciling = asyncio.Lock()
        # What an admin call brings or takes away at the moment: nobody else is to conclude anything from it.
        self._busy: set[ModelVersion] = set()
        self._suspects: set[ModelVersion] = set()
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
            self._current.follow(name, current_mark(self._root, name))
            try:
                self._add(Model(await asyncio.to_thread(open_model, self._root, name)))
            except RepositoryError as exc:
                if name == self._default:
                    raise
                self.broken[name] = str(exc)
                logger.error("model %s cannot be served: %s", name, exc)
        for model in self:
            self._current.set(model.key)
        default = self.find(self._default)
        await self.check([default])
        if default.lasting:
            raise RepositoryError(default.reason)
        await self._reconcile()
        self._looks.begin(model for model in self if not model.ready and model is not default)
        await self._looks.settle(START_S)
        self._timer = asyncio.get_running_loop().create_task(self._watch())
        self._timer.add_done_callback(_tell)

    async def aclose(self) -> None:
        """Stops the timer, and the looks under way."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])
        await self._looks.aclose()

    def largest(self, model: ModelVersion) -> int:
        """How many images a batch for it may hold."""
        found = self._models.get(model)
        return 1 if found is None or found.passport is None else found.passport.max_batch_size

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
        default = self._models.get(ModelVersion(self._default, self._current.get(self._default) or ""))
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
            await self._catch_up(name)
            return await self._bring_up(name, version)

    async def promote(self, name: str, version: str) -> Model:
        """Makes a version current, once it is loaded and its known image is right.

        Raises UnknownModel, ModelConflict and EngineFailed.
        """
        async with self._changing:
            await self._catch_up(name)
            model = await self._bring_up(name, version)
            if not model.ready:
                raise ModelConflict(f"model {model.key} is not ready and was not promoted: {model.reason}")
            # Nobody may have read the mark before this one and follow it afterwards.
            async with self._reconciling:
                try:
                    await asyncio.to_thread(make_current, self._root, name, version)
                except RepositoryError as exc:
                    raise ModelConflict(str(exc)) from exc
                self._current.follow(name, current_mark(self._root, name))
                self._current.set(model.key)
            return model

    async def unload(self, name: str, version: str) -> None:
        """Takes no more requests for a version, waits for those under way, and frees it.

        From an engine that others share only once they, too, must have followed the last promotion.
        Raises UnknownModel, ModelConflict for a version that is current while it has others or is the default model's,
        and EngineFailed.
        """
        async with self._changing:
            await self._catch_up(name)
            model = self._unloadable(name, version)
            while (wait_s := self._followed_in(name)) > 0:
                await asyncio.sleep(wait_s)
                await self._catch_up(name)
                model = self._unloadable(name, version)
            with self._busy_with(model.key):
                self._drop(model)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(UNLOAD_S):
                        await self._detector.unused(model.key)
                await self._engine.unload(model.key)
            logger.info("model %s: unloaded", model.key)

    async def check(self, models: Iterable[Model] | None = None) -> None:
        """Runs the known images of these models, or of all, side by side, and takes down what is wrong with each."""
        await asyncio.gather(*(self._looks.look(model) for model in (self if models is None else models)))

    async def _catch_up(self, name: str) -> None:
        """What another gateway or process did just now to this model is known before it is changed again."""
        await self._reconcile()
        await self.check([model for model in self if model.key.name == name and model.passport and not model.ready])
        self._follow_all()

    def _unloadable(self, name: str, version: str) -> Model:
        model = self.find(name, version)
        others = any(other.key.name == name and other is not model for other in self)
        if self.is_current(model.key) and (others or name == self._default):
            raise ModelConflict(f"model {model.key} is the current version; promote another one first")
        return model

    def _followed_in(self, name: str) -> float:
        """Seconds until everyone must have followed the last promotion of a model."""
        needed_s = FOLLOWED * self._reconcile_s if self._engine.shared else 0.0
        return self._current.since(name) + needed_s - time.monotonic()

    @contextlib.contextmanager
    def _busy_with(self, key: ModelVersion) -> Iterator[None]:
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

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
            model.stored, model.lasting, model.load_at = stored, False, -math.inf
        with self._busy_with(key):
            await self.check([model])
            if model.passport is None:
                raise (ModelConflict if model.lasting else EngineFailed)(
                    f"model {key} cannot be loaded: {model.reason}"
                )
            self._add(model)  # only now: until here nobody could ask for it
        self.broken.pop(name, None)
        if name not in self._current:
            self._current.follow(name, mark)
            self._current.set(key)
        return model

    def _add(self, model: Model) -> None:
        self._models[model.key] = model
        model.listed = True
        self._looks.show(model)

    def _drop(self, model: Model) -> None:
        name = model.key.name
        del self._models[model.key]
        model.listed = False
        if not any(other.key.name == name for other in self):
            self._current.forget(name)
        self._looks.forget(model)

    async def _watch(self) -> None:
        checked_at = reconciled_at = time.monotonic()
        while True:
            self._suspects |= self._detector.suspects
            self._detector.suspects.clear()
            self._detector.suspicion.clear()
            self._looks.ended.clear()
            if self._looks.bug is not None:
                raise self._looks.bug
            if time.monotonic() - checked_at >= self._interval_s:
                checked_at = time.monotonic()
                self._suspects |= self._models.keys()
            if time.monotonic() - reconciled_at >= self._retry_s:
                await self._reconcile()
                reconciled_at = time.monotonic()
            self._follow_all()
            self._suspects -= self._looks.begin(self._pending())
            await self._pause()

    def _pending(self) -> list[Model]:
        """What is to be looked at as soon as its time has come."""
        self._suspects &= self._models.keys()
        return [model for model in self if model.key in self._suspects or not (model.ready or model.lasting)]

    async def _pause(self) -> None:
        """Until the next look: soon where something is not ready, at once where a request met a failing engine."""
        pending = self._pending()
        pause = min(self._retry_s if pending else self._reconcile_s, self._interval_s, self._looks.next_in(pending))
        news = [asyncio.ensure_future(event.wait()) for event in (self._detector.suspicion, self._looks.ended)]
        try:
            await asyncio.wait(news, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in news:
                waiting.cancel()

    async def _reconcile(self) -> None:
        """Takes over what other gateways have loaded, unloaded or promoted, and what the engine has lost."""
        async with self._reconciling:
            # In this order, because a version is loaded before it is promoted: none is seen promoted but not loaded.
            self._current.read(await asyncio.to_thread(read_marks, self._root))
            known = [model for model in self if model.passport is not None]
            busy = set(self._busy)
            try:
                loaded = await self._engine.loaded()
            except EngineFailed:
                self._suspects |= self._models.keys()
                return
            # What an admin call brought or took away while the engine was being asked may be in its answer or not.
            busy |= self._busy
            for key in sorted(loaded.keys() - self._models.keys() - busy):
                await self._take_over(key, loaded[key])
            self._follow_all()
            for model in known:
                if self._models.get(model.key) is model and model.key not in busy:
                    self._compare(model, loaded.get(model.key))

    async def _take_over(self, key: ModelVersion, passport: Passport) -> None:
        """A version that another gateway has loaded; what is not in this repository is none of ours."""
        with contextlib.suppress(RepositoryError):
            stored = await asyncio.to_thread(open_model, self._root, *key)
            if key not in self._models and key not in self._busy:
                self._add(Model(stored, passport, reason="its known image was not run yet"))
                if key.name not in self._current:
                    self._current.set(key)

    def _compare(self, model: Model, passport: Passport | None) -> None:
        """What is known of a model with what the engine says of it now; None where it has it no longer."""
        if passport is not None:
            if passport != model.passport:
                logger.warning("model %s: the engine runs it otherwise now: %s", model.key, passport)
                model.passport = passport
                self._suspects.add(model.key)
        elif model.key in self._engine.wanted:
            self._suspects.add(model.key)  # the engine brings it back by itself
        elif model.key.name == self._default and self.is_current(model.key):
            # Taken away on purpose or not, there is no service without it.
            model.passport, model.reason = None, "the engine has it no longer"
            self._looks.show(model)
            logger.error("model %s: the engine has it no longer", model.key)
        else:
            self._drop(model)
            logger.info("model %s: unloaded by another gateway", model.key)

    def _follow_all(self) -> None:
        """Takes over promotions: a spec.json was written anew, and names a version that is loaded.

        That it merely names another version is none: an export does that too, and is not to go live by itself.
        """
        for name, mark in self._current.news():
            model = self._models.get(ModelVersion(name, mark[0]))
            if model is not None and not model.ready:
                continue  # asked again when it is
            self._current.follow(name, mark)
            if model is not None and not self.is_current(model.key):
                self._current.set(model.key)


def _tell(timer: asyncio.Task[None]) -> None:
    """Of a bug that has ended the timer; that it ended, readiness tells."""
    if not timer.cancelled() and (bug := timer.exception()) is not None:
        logger.error("the timer of the known images has stopped", exc_info=bug)
