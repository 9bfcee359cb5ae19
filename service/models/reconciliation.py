"""What is held, brought in line with what the engine has loaded and the repository calls current.

Other gateways on the same engine load, unload and promote too, and an engine may lose what it had.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from service.engine.protocol import Engine, ModelVersion, Passport
from service.engine.repository import open_model
from service.errors import EngineFailed, RepositoryError
from service.models.current import read_marks
from service.models.held import Held
from service.models.looks import Looks
from service.models.model import Model

logger = logging.getLogger(__name__)


class Reconciliation:
    """`running` is held while it runs; `suspects` are to be looked at soon."""

    def __init__(self, root: Path, engine: Engine, held: Held, looks: Looks) -> None:
        self._root = root
        self._engine = engine
        self._held = held
        self._looks = looks
        # What an admin call brings or takes away at the moment: nobody else is to conclude anything from it.
        self._busy: set[ModelVersion] = set()
        self.running = asyncio.Lock()
        self.suspects: set[ModelVersion] = set()

    @contextlib.contextmanager
    def busy_with(self, key: ModelVersion) -> Iterator[None]:
        """Meanwhile, whether the engine has this version says nothing."""
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    async def run(self) -> None:
        """Takes over what others have loaded, unloaded or promoted, and what the engine has lost."""
        async with self.running:
            # In this order, because a version is loaded before it is promoted: none is seen promoted but not loaded.
            self._held.current.read(await asyncio.to_thread(read_marks, self._root))
            known = [model for model in self._held if model.passport is not None]
            busy = set(self._busy)
            try:
                loaded = await self._engine.loaded()
            except EngineFailed:
                self.suspects.update(model.key for model in self._held)
                return
            # What an admin call brought or took away while the engine was being asked may be in its answer or not.
            busy |= self._busy
            for key in sorted(loaded.keys() - {model.key for model in self._held} - busy):
                await self._take_over(key, loaded[key])
            self._held.follow_all()
            for model in known:
                if self._held.get(model.key) is model and model.key not in busy:
                    self._compare(model, loaded.get(model.key))

    async def _take_over(self, key: ModelVersion, passport: Passport) -> None:
        """A version that another gateway has loaded; what is not in this repository is none of ours."""
        with contextlib.suppress(RepositoryError):
            stored = await asyncio.to_thread(open_model, self._root, *key)
            if key not in self._held and key not in self._busy:
                self._held.add(Model(stored, passport, reason="its known image was not run yet"))
                if key.name not in self._held.current:
                    self._held.current.set(key)

    def _compare(self, model: Model, passport: Passport | None) -> None:
        """What is known of a model with what the engine says of it now; None where it has it no longer."""
        if passport is not None:
            if passport != model.passport:
                logger.warning("model %s: the engine runs it otherwise now: %s", model.key, passport)
                model.passport = passport
                self.suspects.add(model.key)
        elif model.key in self._engine.wanted:
            self.suspects.add(model.key)  # the engine brings it back by itself
        elif model.key.name == self._held.default and self._held.is_current(model.key):
            # Taken away on purpose or not, there is no service without it.
            model.passport, model.reason = None, "the engine has it no longer"
            self._looks.show(model)
            logger.error("model %s: the engine has it no longer", model.key)
        else:
            self._held.drop(model)
            logger.info("model %s: unloaded by another gateway", model.key)
