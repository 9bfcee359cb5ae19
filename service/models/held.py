"""The versions that requests can name: which are loaded, or should be, and which of each model is current.

Nothing here waits, asks the engine or reads the repository.
"""

from collections.abc import Iterator

from service.engine.protocol import ModelVersion
from service.errors import ModelNotReady, UnknownModel
from service.models.current import Current
from service.models.looks import Looks
from service.models.model import Model


class Held:
    """Iterating yields them in order of name and version. `broken`: why a model has none, by its name."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._models: dict[ModelVersion, Model] = {}
        self.current = Current()
        self.default = ""
        self.broken: dict[str, str] = {}

    def __iter__(self) -> Iterator[Model]:
        return iter(sorted(self._models.values(), key=lambda model: (model.key.name, int(model.key.version))))

    def __contains__(self, key: object) -> bool:
        return key in self._models

    def get(self, key: ModelVersion) -> Model | None:
        """This very version, if it is there."""
        return self._models.get(key)

    def find(self, name: str, version: str | None = None) -> Model:
        """The version of a model, the current one where none is given, ready or not.

        Raises UnknownModel, and ModelNotReady for a model that is broken.
        """
        current = self.current.get(name)
        if current is None:
            if name in self.broken:
                raise ModelNotReady(f"model {name!r} cannot be served: {self.broken[name]}")
            raise UnknownModel(f"no model {name!r}; there is {', '.join(self.current)}")
        model = self._models.get(ModelVersion(name, version or current))
        if model is None:
            loaded = ", ".join(model.key.version for model in self if model.key.name == name)
            raise UnknownModel(f"model {name!r} has no version {version!r} loaded; there is {loaded}")
        return model

    def is_current(self, key: ModelVersion) -> bool:
        """Whether requests that name no version get this one."""
        return self.current.get(key.name) == key.version

    def add(self, model: Model) -> None:
        """From now on requests can name it."""
        self._models[model.key] = model
        model.listed = True
        self._looks.show(model)

    def drop(self, model: Model) -> None:
        """From now on none can. The last version of a model takes its name along."""
        name = model.key.name
        del self._models[model.key]
        model.listed = False
        if not any(other.key.name == name for other in self):
            self.current.forget(name)
        self._looks.forget(model)

    def follow_all(self) -> None:
        """Takes over promotions: a spec.json was written anew, and names a version that is loaded.

        That it merely names another version is none: an export does that too, and is not to go live by itself.
        """
        for name, mark in self.current.news():
            model = self._models.get(ModelVersion(name, mark[0]))
            if model is not None and not model.ready:
                continue  # asked again when it is
            self.current.follow(name, mark)
            if model is not None and not self.is_current(model.key):
                self.current.set(model.key)
