"""The model repository on disk, as the engines of this process read it.

    <root>/<name>/spec.json                   the passport of the model, see service.vision.spec
    <root>/<name>/<version>/model.onnx        the served graph

Reading checks that the file is the one the spec speaks of (sha256). Nothing is fetched, converted or written here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from service.errors import RepositoryError
from service.vision.spec import ModelSpec, SpecError


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model on disk: its spec, and the graph that the spec speaks of."""

    spec: ModelSpec
    onnx: Path


def model_names(root: Path) -> tuple[str, ...]:
    """Names of the models in the repository, sorted. An absent folder holds none."""
    return tuple(sorted(spec.parent.name for spec in root.glob("*/spec.json")))


def open_model(root: Path, name: str) -> StoredModel:
    """Reads the spec of `name` and verifies its graph. Raises RepositoryError with one clear line."""
    names = model_names(root)
    if name not in names:
        known = ", ".join(names) if names else "none at all"
        raise RepositoryError(f"no model {name!r} in {root.absolute()}; there is {known}")
    spec = _read_spec(root / name / "spec.json")
    if spec.name != name:
        raise RepositoryError(f"{root / name / 'spec.json'} speaks of {spec.name!r}, not of {name!r}")
    onnx = root / name / spec.version / "model.onnx"
    if not onnx.is_file():
        raise RepositoryError(f"{onnx} is missing, but the spec of {name!r} names version {spec.version}")
    with onnx.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != spec.sha256:
        raise RepositoryError(f"{onnx} is not the file its spec speaks of: sha256 {found}, expected {spec.sha256}")
    return StoredModel(spec, onnx)


def _read_spec(path: Path) -> ModelSpec:
    try:
        return ModelSpec.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SpecError) as exc:
        raise RepositoryError(f"{path}: {exc}") from exc
