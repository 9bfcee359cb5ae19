"""One version of one model, and where it stands: found, loaded, ready, or why not."""

from dataclasses import dataclass

from service.detector import Served
from service.engine.protocol import ModelVersion, Passport
from service.engine.repository import StoredModel
from service.vision.spec import ModelSpec


@dataclass(slots=True)
class Model:
    """`reason` says why it is not ready; None when it is. `passport` is the engine's, once it is loaded.

    `lasting`: trying again changes nothing, because the files themselves are wrong.
    """

    stored: StoredModel
    passport: Passport | None = None
    reason: str | None = "it was not loaded yet"
    lasting: bool = False

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
