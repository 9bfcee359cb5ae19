"""From a staged version to a published one, if every engine of it holds what its parent can.

Whatever is published was measured; nothing is published if one engine fails. Of one that fails, the layers are told
that its noise comes from.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.export.exported import open_exported
from training.export.gate.layers import WORST, Layer, compare_layers, describe, standing_out
from training.export.gate.page import label, rows
from training.export.gate.parent import Parent, look_into_parent, score_parent
from training.export.gate.probe import OnnxProbe, OpenvinoProbe, Probe, names_of
from training.export.gate.release import Release
from training.export.gate.request import Request
from training.export.gate.staged import OFFLINE, Staged, read_staged
from training.export.gate.subject import Subject, choose_pictures, stretch
from training.export.gate.trial import Trial
from training.export.gate.trials import Findings, try_all
from training.export.gate.verdict import judge, sentence
from training.export.repository import next_version
from training.export.session import ExportError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Promotion:
    """What came of it.

    table: text, see ``page.HEADS``. layers: the noisiest of each engine that failed, by its label. refusal: one line,
    empty where a version was published. folder: of that; None where none was.
    """

    table: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    layers: Mapping[str, tuple[Layer, ...]]
    refusal: str
    folder: Path | None


def promote(request: Request) -> Promotion:
    """Try every engine of a staged version, and publish it as the next version if all are within the bounds.

    Raises ExportError, CheckpointError, DatasetError, ConfigError for what cannot be tried at all.
    """
    staged = read_staged(request.staged)
    request.check(staged)
    next_version(request.repository, request.name or staged.spec.name)  # refuses a name that cannot be published
    parent = score_parent(staged, request)
    subject = _subject(staged, request, parent)
    found = try_all(request, staged, subject)
    found.notes += parent.doubts()
    layers = _judge_all(request, staged, subject, parent, found)
    table = tuple(rows(found.trials, parent.evaluation, parent.name))
    folder, refusal = None, ""
    if found.against or not found.trials:
        refusal = sentence(found.against or [("no engine", ["none could be tried"])])
    else:
        try:
            folder = Release(request, staged, parent, found).publish()
        except ExportError as exc:  # what was measured for long is told all the same
            refusal = f"every engine holds, but nothing is published: {exc}"
    return Promotion(table, tuple(found.notes), layers, refusal, folder)


def _subject(staged: Staged, request: Request, parent: Parent) -> Subject:
    pictures = choose_pictures(request.dataset, parent.detections)
    shapes_hw = staged.spec.input_shapes
    return Subject(
        name=staged.spec.name,
        shapes_hw=shapes_hw,
        dataset=request.dataset,
        parent=parent.detections,
        pictures=pictures,
        stretched=stretch(open_exported(staged.onnx).infer, pictures, shapes_hw),
    )


def _judge_all(
    request: Request, staged: Staged, subject: Subject, parent: Parent, found: Findings
) -> dict[str, tuple[Layer, ...]]:
    """Note what speaks against each engine; return the noisiest layers of those against which something does."""
    noisiest = {}
    for trial in found.trials:
        against = judge(trial, parent.evaluation, request.bounds)
        if not against:
            continue
        if not trial.url:  # there is nothing to look into elsewhere
            try:
                layers = _look_into(trial, staged, subject, request)
            except ExportError as exc:
                found.notes.append(f"{label(trial)}: its layers could not be looked at: {exc}")
            else:
                noisiest[label(trial)] = layers[:WORST]
                against.append(describe(layers))
                found.notes += _advice(trial, layers)
        found.against.append((label(trial), against))
    return noisiest


def _look_into(trial: Trial, staged: Staged, subject: Subject, request: Request) -> tuple[Layer, ...]:
    """All its layers on a few pictures, the noisiest first. Raises ExportError."""
    logger.info("looking into the layers of %s", label(trial))
    names = names_of(staged.onnx)
    return compare_layers(look_into_parent(staged, request, names), _probe(trial, staged, names), subject.laid())


def _probe(trial: Trial, staged: Staged, names: Mapping[str, str]) -> Probe:
    file = staged.folder / trial.file
    if trial.file in OFFLINE.values():
        return OnnxProbe(file, names)
    return OpenvinoProbe(file, names, "bf16" if trial.precision == "bf16" else "f32")


def _advice(trial: Trial, layers: tuple[Layer, ...]) -> list[str]:
    """What a recipe of ``quantise`` needs to keep the noisiest layers in float32."""
    named = ", ".join(f'"{layer.name}"' for layer in standing_out(layers))
    if not named or trial.precision != "int8":
        return []
    return [f"{label(trial)}: to keep them in float32, quantise it anew by a recipe with wide = [{named}]"]
