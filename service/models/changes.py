"""What an administrator asks for: a version loaded, made current, or taken away, without a request lost.

A version serves only once its known image has come out right, and leaves only once nobody uses it, of this gateway or
of others on the same engine. Changes wait for each other.
"""

import asyncio
import contextlib
import logging
import math
import time
from pathlib import Path

from service.detector import Detector
from service.engine.protocol import Engine, ModelVersion
from service.engine.repository import current_mark, make_current, model_names, open_model, version_names
from service.errors import EngineFailed, ModelConflict, RepositoryError, UnknownModel
from service.models.held import Held
from service.models.looks import Looks
from service.models.model import Model
from service.models.reconciliation import Reconciliation

logger = logging.getLogger(__name__)

# In how many of its intervals every gateway follows a promotion, and ends what it had begun for the version before.
FOLLOWED = 2.0
# How long an unload waits for those who still use the version.
UNLOAD_S = 60.0


class Changes:
    """`reconcile_s`: how often every gateway asks what the others did."""

    def __init__(
        self,
        root: Path,
        engine: Engine,
        detector: Detector,
        held: Held,
        looks: Looks,
        reconciliation: Reconciliation,
        *,
        reconcile_s: float,
    ) -> None:
        self._root = root
        self._engine = engine
        self._detector = detector
        self._held = held
        self._looks = looks
        self._reconciliation = reconciliation
        self._reconcile_s = reconcile_s
        self._changing = asyncio.Lock()

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
            async with self._reconciliation.running:
                try:
                    await asyncio.to_thread(make_current, self._root, name, version)
                except RepositoryError as exc:
                    raise ModelConflict(str(exc)) from exc
                self._held.current.follow(name, current_mark(self._root, name))
                self._held.current.set(model.key)
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
            with self._reconciliation.busy_with(model.key):
                self._held.drop(model)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(UNLOAD_S):
                        await self._detector.unused(model.key)
                await self._engine.unload(model.key)
            logger.info("model %s: unloaded", model.key)

    async def _catch_up(self, name: str) -> None:
        """What another gateway or process did just now to this model is known before it is changed again."""
        await self._reconciliation.run()
        held = [model for model in self._held if model.key.name == name]
        await self._looks.look_at(model for model in held if model.passport and not model.ready)
        self._held.follow_all()

    def _unloadable(self, name: str, version: str) -> Model:
        model = self._held.find(name, version)
        others = any(other.key.name == name and other is not model for other in self._held)
        if self._held.is_current(model.key) and (others or name == self._held.default):
            raise ModelConflict(f"model {model.key} is the current version; promote another one first")
        return model

    def _followed_in(self, name: str) -> float:
        """Seconds until everyone must have followed the last promotion of a model."""
        needed_s = FOLLOWED * self._reconcile_s if self._engine.shared else 0.0
        return self._held.current.since(name) + needed_s - time.monotonic()

    async def _bring_up(self, name: str, version: str | None) -> Model:
        """Opened, loaded and looked at; what was loaded before is only looked at."""
        self._must_be_there(name, version)
        mark = current_mark(self._root, name)
        try:
            stored = await asyncio.to_thread(open_model, self._root, name, version)
        except RepositoryError as exc:
            raise ModelConflict(str(exc)) from exc
        key = ModelVersion(name, stored.spec.version)
        model = self._held.get(key) or Model(stored)
        if model.passport is None:
            # The files may have been put right since they were found wrong.
            model.stored, model.lasting, model.load_at = stored, False, -math.inf
        with self._reconciliation.busy_with(key):
            await self._looks.look(model)
            if model.passport is None:
                raise (ModelConflict if model.lasting else EngineFailed)(
                    f"model {key} cannot be loaded: {model.reason}"
                )
            self._held.add(model)  # only now: until here nobody could ask for it
        self._held.broken.pop(name, None)
        if name not in self._held.current:
            self._held.current.follow(name, mark)
            self._held.current.set(key)
        return model

    def _must_be_there(self, name: str, version: str | None) -> None:
        if name not in model_names(self._root):
            raise UnknownModel(f"no model {name!r} in the repository; there is {', '.join(model_names(self._root))}")
        versions = version_names(self._root, name)
        if version is not None and version not in versions:
            raise UnknownModel(
                f"model {name!r} has no version {version!r} in the repository; there is {', '.join(versions)}"
            )
