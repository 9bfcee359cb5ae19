"""One version of one model, and where it stands: found, loaded, ready, or why not."""

import asyncio
from dataclasses import dataclass, field

from service.detector import Served
from service.engine.protocol import ModelVersion, Passport
from service.engine.repository import StoredModel
from service.models.reference import Reference
from service.vision.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Sight:
    """Whether the known image came out as known, and when; seconds since 1970, for others to read."""

    found: bool
    at: float


@dataclass(slots=True)
class Model:
    """`reason` says why it is not ready; None when it is. `passport` is the engine's, once it is loaded.

    `lasting`: trying again changes nothing, because the files themselves are wrong.
    `listed`: requests can name it.
    `sees`: what its last look at the known image found. `reference`: what it is expected to see, if that is known.
    `looking` is held by whoever loads it or looks at it; that was done last at `looked_at`. It is not loaded before
    `load_at`, and after one more refusal not for `load_pause_s`. Readings of time.monotonic().
    """

    stored: StoredModel
    passport: Passport | None = None
    reason: str | None = "it was not loaded yet"
    lasting: bool = False
    listed: bool = False
    looking: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    looked_at: float = float("-inf")
    load_at: float = float("-inf")
    load_pause_s: float = 1.0
    sees: Sight | None = None
    reference: Reference | None = None

    @property
    def spec(self) -> ModelSpec:
        """What a gateway must know of it."""
        return self.stored.spec

    @property
    def key(self) -> ModelVersion:
        """Its name and version."""
        return ModelVersion(self.spec.name, self.spec.version)

    @property
    def ready(self) -> bool:
        """Whether requests for it are taken."""
        return self.reason is None

    @property
    def served(self) -> Served:
        """What a request for it is given. Only for one that is loaded."""
        assert self.passport is not None
        return Served(self.spec, self.passport)
