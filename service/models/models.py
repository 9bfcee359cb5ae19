"""The models that are served: which versions are loaded, which of them is current, and whether each still sees.

    repository on disk ──► which versions there are, and which one is current (spec.json)
    engine             ──► which versions are loaded; with Triton also by other gateways, so it is asked again and again
    known images       ──► which of them are ready

Loading, promoting and unloading drop no request: a version serves only once its known image has come out right, and
leaves only once nobody uses it, of this gateway or of others on the same engine. A model that cannot be loaded says why
and harms no other. Admin calls wait for each other; readiness waits for none of them.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from service.detector import Detector, Served
from service.engine.protocol import Engine, ModelVersion
from service.engine.repository import current_mark, open_model, version_names
from service.errors import ModelNotReady, RepositoryError
from service.metrics import Metrics
from service.models.changes import Changes
from service.models.held import Held
from service.models.looks import Looks
from service.models.model import Model
from service.models.reconciliation import Reconciliation

logger = logging.getLogger(__name__)

# How often the repository and the engine are asked what there is.
RECONCILE_S = 5.0
# How often that is while something is not ready, and at most; and how often at most one model is looked at.
RETRY_S = 1.0
# How long the start waits for the models beside the default one.
START_S = 30.0


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
        self._detector = detector
        self._interval_s = interval_s
        self._reconcile_s = reconcile_s
        self._retry_s = min(RETRY_S, reconcile_s, interval_s)
        self._looks = Looks(engine, detector, least_s=self._retry_s, metrics=metrics)
        self._held = Held(self._looks)
        self._reconciliation = Reconciliation(root, engine, self._held, self._looks)
        self._changes = Changes(
            root, engine, detector, self._held, self._looks, self._reconciliation, reconcile_s=reconcile_s
        )
        self._timer: asyncio.Task[None] | None = None

    def __iter__(self) -> Iterator[Model]:
        return iter(self._held)

    @property
    def default(self) -> str:
        """The name of the model of requests that name none."""
        return self._held.default

    @property
    def broken(self) -> Mapping[str, str]:
        """Why a model has no version to serve, by its name."""
        return self._held.broken

    async def start(self, names: Sequence[str]) -> None:
        """Loads the current version of each model and runs the known images; then on a timer.

        Returns once the default model, the first, was looked at, and the others too unless they take longer than
        `START_S`: one that hangs keeps no other waiting. Raises RepositoryError where the default model is missing or
        damaged; of another one it is only told.
        """
        held = self._held
        held.default = names[0]
        for name in dict.fromkeys(names):
            # Before the rest, so that a promotion in between is still followed.
            held.current.follow(name, current_mark(self._root, name))
            try:
                held.add(Model(await asyncio.to_thread(open_model, self._root, name)))
            except RepositoryError as exc:
                if name == held.default:
                    raise
                held.broken[name] = str(exc)
                logger.error("model %s cannot be served: %s", name, exc)
        for model in held:
            held.current.set(model.key)
        default = held.find(held.default)
        await self._looks.look(default)
        if default.lasting:
            raise RepositoryError(default.reason)
        await self._reconciliation.run()
        self._looks.begin(model for model in held if not model.ready and model is not default)
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
        found = self._held.get(model)
        return 1 if found is None or found.passport is None else found.passport.max_batch_size

    def resolve(self, name: str | None = None, version: str | None = None) -> Served:
        """What a request's model and version stand for. Raises UnknownModel and ModelNotReady."""
        model = self.find(name or self.default, version)
        if model.reason is not None:
            raise ModelNotReady(f"model {model.key} is not ready: {model.reason}")
        return model.served

    def find(self, name: str, version: str | None = None) -> Model:
        """The version of a model, the current one where none is given, ready or not.

        Raises UnknownModel, and ModelNotReady for a model that is broken.
        """
        return self._held.find(name, version)

    def is_current(self, model: ModelVersion) -> bool:
        """Whether requests that name no version get this one."""
        return self._held.is_current(model)

    def available(self, name: str) -> tuple[str, ...]:
        """Versions in the repository, loaded or not."""
        return version_names(self._root, name)

    def reasons(self) -> dict[str, str]:
        """Why the service is not ready, by what is amiss; empty when it is.

        Only the default model counts: one of several that fails must not take the others from their users.
        """
        reasons = {}
        default = self._held.get(ModelVersion(self.default, self._held.current.get(self.default) or ""))
        if default is None or default.reason is not None:
            reasons[self.default or "models"] = (default and default.reason) or "nothing was loaded yet"
        if not self._detector.healthy:
            reasons["batching"] = "it has stopped"
        if self._timer is not None and self._timer.done():
            reasons["known images"] = "their timer has stopped"
        return reasons

    async def load(self, name: str, version: str | None) -> Model:
        """Loads a version and looks at its known image. Raises UnknownModel, ModelConflict and EngineFailed."""
        return await self._changes.load(name, version)

    async def promote(self, name: str, version: str) -> Model:
        """Makes a version current that is ready. Raises UnknownModel, ModelConflict and EngineFailed."""
        return await self._changes.promote(name, version)

    async def unload(self, name: str, version: str) -> None:
        """Frees a version once nobody uses it. Raises UnknownModel, ModelConflict and EngineFailed."""
        await self._changes.unload(name, version)

    async def check(self, models: Iterable[Model] | None = None) -> None:
        """Runs the known images of these models, or of all, side by side, and takes down what is wrong with each."""
        await self._looks.look_at(self if models is None else models)

    async def _watch(self) -> None:
        checked_at = reconciled_at = time.monotonic()
        suspects = self._reconciliation.suspects
        while True:
            suspects.update(self._detector.suspects)
            self._detector.suspects.clear()
            self._detector.suspicion.clear()
            self._looks.ended.clear()
            if self._looks.bug is not None:
                raise self._looks.bug
            if time.monotonic() - checked_at >= self._interval_s:
                checked_at = time.monotonic()
                suspects.update(model.key for model in self)
            if time.monotonic() - reconciled_at >= self._retry_s:
                await self._reconciliation.run()
                reconciled_at = time.monotonic()
            self._held.follow_all()
            suspects.difference_update(self._looks.begin(self._pending()))
            await self._pause()

    def _pending(self) -> list[Model]:
        """What is to be looked at as soon as its time has come."""
        suspects = self._reconciliation.suspects
        suspects.intersection_update(model.key for model in self)
        return [model for model in self if model.key in suspects or not (model.ready or model.lasting)]

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


def _tell(timer: asyncio.Task[None]) -> None:
    """Of a bug that has ended the timer; that it ended, readiness tells."""
    if not timer.cancelled() and (bug := timer.exception()) is not None:
        logger.error("the timer of the known images has stopped", exc_info=bug)
