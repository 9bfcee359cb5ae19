"""Which version of each model is current, and what the repository said of it when it was last asked.

A mark is what a model's spec.json says: the version that it names, and when it was written. Whether a new mark is
followed is decided elsewhere.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.engine.protocol import ModelVersion
from service.engine.repository import current_mark, model_names

logger = logging.getLogger(__name__)

Mark = tuple[str, int]


class Current:
    """Iterating yields the names of the models that have a current version, in the order in which they came."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}
        self._since: dict[str, float] = {}
        self._followed: dict[str, Mark | None] = {}
        self._read: dict[str, Mark] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def get(self, name: str) -> str | None:
        """The current version of a model."""
        return self._versions.get(name)

    def since(self, name: str) -> float:
        """Since when that is so in this process, by time.monotonic()."""
        return self._since.get(name, -math.inf)

    def set(self, key: ModelVersion) -> None:
        """From now on it is this version."""
        if key.name in self._versions:
            logger.info("model %s: now the current version", key)
        self._versions[key.name] = key.version
        self._since[key.name] = time.monotonic()

    def forget(self, name: str) -> None:
        """The model has no version any more."""
        for known in (self._versions, self._since, self._followed):
            known.pop(name, None)

    def read(self, marks: Mapping[str, Mark]) -> None:
        """What the repository says now."""
        self._read = dict(marks)

    def follow(self, name: str, mark: Mark | None) -> None:
        """This mark is done with: only another one is news."""
        self._followed[name] = mark
        if mark is not None:
            self._read[name] = mark

    def news(self) -> list[tuple[str, Mark]]:
        """The marks that were read and not yet followed, of models that have a current version."""
        return [
            (name, mark)
            for name, mark in self._read.items()
            if name in self._versions and mark != self._followed.get(name)
        ]


def read_marks(root: Path) -> dict[str, Mark]:
    """Of all models whose spec.json can be read."""
    marks = ((name, current_mark(root, name)) for name in model_names(root))
    return {name: mark for name, mark in marks if mark is not None}
