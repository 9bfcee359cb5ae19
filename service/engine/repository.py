"""The model repository on disk, as the engines of this process read it.

    <root>/<name>/spec.json                   names the current version: a copy of that version's spec
    <root>/<name>/<version>/spec.json         the passport of a version, see service.vision.spec
    <root>/<name>/<version>/model.onnx        the served graph

Reading checks that the file is the one the spec speaks of (sha256). Nothing is fetched or converted here, and all that
is ever written is which version is current.
"""

import hashlib
import os
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
    """Names of the models in the repository, sorted. An absent folder holds none.

    What begins with a dot is being written, or was when its writer was killed.
    """
    return tuple(sorted(spec.parent.name for spec in root.glob("[!.]*/spec.json")))


def open_model(root: Path, name: str, version: str | None = None) -> StoredModel:
    """Reads the spec of `name` and verifies its graph; without a version the current one, which spec.json names.

    Raises RepositoryError with one clear line, which names files as they lie in the repository: it may be shown to
    callers, whom the rest of the path does not concern.
    """
    names = model_names(root)
    if name not in names:
        known = ", ".join(names) if names else "none at all"
        raise RepositoryError(f"no model {name!r} in {root.absolute()}; there is {known}")
    path = root / name / (version or "") / "spec.json"
    if version is not None and version not in version_names(root, name):
        known = ", ".join(version_names(root, name)) or "none at all"
        raise RepositoryError(f"model {name!r} has no version {version!r}; there is {known}")
    spec = _read_spec(root, path)
    shown, onnx_shown = path.relative_to(root), f"{name}/{spec.version}/model.onnx"
    if spec.name != name or version not in (None, spec.version):
        raise RepositoryError(f"{shown} speaks of {spec.name}/{spec.version}")
    if not spec.version.isdecimal():
        raise RepositoryError(f"{shown} names version {spec.version!r}, which is not a number")
    onnx = root / name / spec.version / "model.onnx"
    if not onnx.is_file():
        raise RepositoryError(f"{onnx_shown} is missing, but the spec of {name!r} names version {spec.version}")
    try:
        with onnx.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise RepositoryError(f"{onnx_shown} cannot be read: {exc.strerror}") from exc
    if found != spec.sha256:
        raise RepositoryError(
            f"{onnx_shown} is not the file its spec speaks of: sha256 {found}, expected {spec.sha256}"
        )
    return StoredModel(spec, onnx)


def version_names(root: Path, name: str) -> tuple[str, ...]:
    """Versions of a model that have a spec of their own, lowest first."""
    found = (spec.parent.name for spec in (root / name).glob("*/spec.json"))
    return tuple(sorted((version for version in found if version.isdecimal()), key=int))


def current_mark(root: Path, name: str) -> tuple[str, int] | None:
    """The version that spec.json names, and when it was written (ns); None where it cannot be read."""
    path = root / name / "spec.json"
    try:
        return _read_spec(root, path).version, path.stat().st_mtime_ns
    except (RepositoryError, OSError):
        return None


def make_current(root: Path, name: str, version: str) -> None:
    """Writes which version is current, by one rename. Raises RepositoryError, as where the repository is read-only."""
    spec = _read_spec(root, root / name / version / "spec.json")
    path = root / name / "spec.json"
    staged = path.with_name(f".spec.json.{os.getpid()}")
    try:
        staged.write_text(spec.to_json(), encoding="utf-8")
        staged.replace(path)
    except OSError as exc:
        raise RepositoryError(f"{path.relative_to(root)} cannot be written: {exc.strerror}") from exc


def _read_spec(root: Path, path: Path) -> ModelSpec:
    try:
        return ModelSpec.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SpecError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise RepositoryError(f"{path.relative_to(root)}: {why}") from exc
