"""A checkpoint becomes a published model: load, write ONNX, check, describe, publish.

Any failure leaves nothing behind: all of it happens in a staging folder that is renamed last.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.vision.spec import KnownImage, ModelSpec
from training.checkpoint import Checkpoint, load_network
from training.export.card import CardFacts, CardModel, render_card
from training.export.onnx import OnnxFile, check_shapes, rounded, write_onnx
from training.export.parity import (
    BOX_TOLERANCE_PX,
    SCORE_TOLERANCE,
    STORAGE_FLOOR,
    ShapeParity,
    check_parity,
    pictures,
    torch_run,
)
from training.export.passports import describe_engine, known_image, sha256_of, sha256_of_settings, write_passport
from training.export.repository import Publication, next_version, publish, staging
from training.export.session import VERSIONS, ExportError, OnnxSession
from training.nets import DeployModel

SCORE_FLOOR = 0.001  # below it no request may ask


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was published and what the checks found."""

    folder: Path  # of the version
    spec: ModelSpec
    onnx: OnnxFile
    parity: tuple[ShapeParity, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    """What the model is to be published as."""

    name: str
    version: str
    shapes: tuple[tuple[int, int], ...]
    max_candidates: int


def export_checkpoint(
    checkpoint_path: Path,
    *,
    name: str,
    repository: Path,
    shapes: Sequence[tuple[int, int]],
    max_candidates: int = 1000,
    facts: CardFacts | None = None,
    images: Sequence[NDArray[np.uint8]] = (),
) -> ExportReport:
    """Publish a checkpoint's averaged weights as the next version of ``name``.

    ``shapes`` are input shapes (H, W), the first the default. ``images`` (H, W, 3) uint8 RGB join the generated ones
    in the checks. Raises CheckpointError, ExportError.
    """
    network, checkpoint = load_network(checkpoint_path)
    facts = _with_settings(facts or CardFacts(), checkpoint)
    try:
        model = DeployModel(network, max_candidates).eval()
    except ValueError as exc:
        raise ExportError(str(exc)) from exc
    check_shapes(model, shapes)
    stored = rounded(model)
    target = _Target(name, next_version(repository, name), tuple(shapes), max_candidates)
    with staging(repository) as folder:
        onnx = write_onnx(stored, folder / "model.onnx", _metadata(target, checkpoint))
        session = OnnxSession(onnx.path)
        parity = tuple(
            check_parity(session.run, stored=torch_run(stored), trained=torch_run(model), batch=pictures(shape, images))
            for shape in shapes
        )
        known = tuple(known_image(session.run, shape) for shape in shapes)
        spec = _spec(target, checkpoint, facts, onnx.sha256, known)
        passport = describe_engine(
            onnx.path,
            spec,
            precision=spec.precision,
            versions=VERSIONS,
            origin=_weights(checkpoint_path, checkpoint, spec),
        )
        papers = write_passport(onnx.path, passport)
        published = publish(repository, onnx.path, Publication(spec, _card(spec, onnx, parity, facts), (papers,)))
    return ExportReport(published, spec, replace(onnx, path=published / "model.onnx"), parity)


def _spec(
    target: _Target, checkpoint: Checkpoint, facts: CardFacts, sha256: str, known: tuple[KnownImage, ...]
) -> ModelSpec:
    return ModelSpec(
        name=target.name,
        version=target.version,
        variant=checkpoint.variant,
        class_names=checkpoint.class_names,
        input_shapes=target.shapes,
        max_candidates=target.max_candidates,
        score_floor=SCORE_FLOOR,
        precision="fp16",
        sha256=sha256,
        origin=_origin(checkpoint, facts),
        average_precision=dict(facts.average_precision),
        known_images=known,
    )


def _metadata(target: _Target, checkpoint: Checkpoint) -> dict[str, str]:
    return {
        "name": target.name,
        "version": target.version,
        "variant": checkpoint.variant,
        "classes": json.dumps(checkpoint.class_names, ensure_ascii=False),
    }


def _with_settings(facts: CardFacts, checkpoint: Checkpoint) -> CardFacts:
    """Add the recipe's main settings, which every checkpoint of a run carries."""
    recipe = {
        key.replace("_", " "): str(checkpoint.config[key])
        for key in ("image_size", "epochs", "batch_size", "seed")
        if key in checkpoint.config
    }
    if checkpoint.epoch:
        recipe["taken after epoch"] = str(checkpoint.epoch)
    return replace(facts, settings={**recipe, **facts.settings})


def _origin(checkpoint: Checkpoint, facts: CardFacts) -> dict[str, str]:
    """What the spec tells of the weights' past: the given facts, and the official file they came from, if any."""
    told = {
        "data": facts.data,
        "data_licence": facts.data_licence,
        "credit": facts.credit,
        "weights_licence": facts.weights_licence,
        "commit": facts.commit,
        "trainer_torch": torch.__version__,
    }
    official = {f"official_{key}": str(value) for key, value in checkpoint.extra.get("origin", {}).items()}
    return {key: value for key, value in {**told, **official}.items() if value}


def _weights(path: Path, checkpoint: Checkpoint, spec: ModelSpec) -> dict[str, str]:
    """What the passport tells of the weights' past: the spec's origin, and digests of the file and of its recipe."""
    digests = {"weights_sha256": sha256_of(path)}
    if checkpoint.config:
        digests["config_sha256"] = sha256_of_settings(checkpoint.config)
    return spec.origin | digests


def _card(spec: ModelSpec, onnx: OnnxFile, parity: Sequence[ShapeParity], facts: CardFacts) -> str:
    limits = f"limits {BOX_TOLERANCE_PX} px and {SCORE_TOLERANCE} of score"
    checks = [f"ONNX Runtime and torch agree in float32 ({limits}); a batch of four answers as its images alone."]
    for found in parity:
        height, width = found.shape_hw
        storage = f"FP16 kernels against the trained ones, scores from {STORAGE_FLOOR}: {found.storage}"
        checks.append(f"{height}×{width}: engine {found.engine}; batch {found.batch}; {storage}.")
    model = CardModel(
        name=spec.name,
        version=spec.version,
        variant=spec.variant,
        class_names=spec.class_names,
        input_shapes=spec.input_shapes,
        max_candidates=spec.max_candidates,
        sha256=onnx.sha256,
        size=onnx.size,
        checks=tuple(checks),
    )
    return render_card(model, facts)
