"""Passports of engine files, written where the files are made; what they say is ``service.vision.passport``'s."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.vision.passport import SUFFIX, EnginePassport
from service.vision.spec import KnownImage, ModelSpec, SpecError, generate_image
from training.export.parity import Run
from training.export.session import ExportError

KNOWN_SEED = 7
KNOWN_CANDIDATES = 10
FORMATS = {".onnx": "onnx", ".xml": "openvino", ".plan": "tensorrt"}


def describe_engine(
    file: Path,
    spec: ModelSpec,
    *,
    precision: str,
    versions: Mapping[str, str],
    origin: Mapping[str, str] = {},
    known_images: Sequence[KnownImage] = (),
) -> EnginePassport:
    """Return the passport of ``file``, made from the model.onnx of ``spec``; an .xml's weights lie in a .bin beside it.

    versions: of what made and checked it. known_images: its own answers, where those of the spec do not hold for it.
    """
    parts = [file, *([file.with_suffix(".bin")] if file.suffix == ".xml" else [])]
    return EnginePassport(
        file=file.name,
        format=FORMATS[file.suffix],
        precision=precision,
        sha256={part.name: sha256_of(part) for part in parts},
        made_from=spec.sha256,
        input_shapes=spec.input_shapes,
        versions=dict(versions),
        origin=dict(origin),
        parent=dict(spec.average_precision),
        known_images=tuple(known_images),
    )


def known_image(run: Run, shape_hw: tuple[int, int]) -> KnownImage:
    """Ask an engine, in float32, what it sees in the picture that readiness will show it."""
    answers = run(generate_image(KNOWN_SEED, shape_hw)[None])
    return KnownImage(KNOWN_SEED, shape_hw, answers.image(0, KNOWN_CANDIDATES))


def write_passport(file: Path, passport: EnginePassport) -> Path:
    """Write ``passport`` beside ``file``; return where."""
    path = file.with_name(file.name + SUFFIX)
    path.write_text(passport.to_json(), encoding="utf-8")
    return path


def read_passport(file: Path) -> EnginePassport | None:
    """Return the passport beside ``file``, or None. Raises ExportError."""
    path = file.with_name(file.name + SUFFIX)
    try:
        return EnginePassport.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, SpecError) as exc:
        raise ExportError(f"{path}: {exc}") from exc


def read_spec(version: Path) -> ModelSpec:
    """Return the spec of a version's folder, whose model.onnx must be the one it speaks of. Raises ExportError."""
    path, model = version / "spec.json", version / "model.onnx"
    try:
        spec = ModelSpec.from_json(path.read_text(encoding="utf-8"))
        found = sha256_of(model)
    except (UnicodeDecodeError, SpecError) as exc:
        raise ExportError(f"{path}: {exc}") from exc
    except OSError as exc:
        raise ExportError(f"{exc.filename}: {exc.strerror}") from exc
    if found != spec.sha256:
        raise ExportError(f"{model} is not the file that {path.name} beside it speaks of: sha256 {found}")
    return spec


def sha256_of(path: Path) -> str:
    """Return the digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_settings(settings: Mapping[str, object]) -> str:
    """Return the digest of a recipe, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
