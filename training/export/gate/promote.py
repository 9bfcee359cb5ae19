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
from training.export.gate.trials import Findings, Refused, try_all
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
    for trial in found.trials:
        if against := judge(trial, parent.evaluation, request.bounds):
            file = None if trial.url else trial.file  # elsewhere there is nothing to look into
            found.refused.append(Refused(label(trial), against, file, trial.precision))
    layers = _look_into_all(request, staged, subject, found)
    table = tuple(rows(found.trials, parent.evaluation, parent.name))
    folder, refusal = None, ""
    if found.refused or not found.trials:
        refusal = sentence([(each.engine, each.against) for each in found.refused])
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


def _look_into_all(request: Request, staged: Staged, subject: Subject, found: Findings) -> dict[str, tuple[Layer, ...]]:
    """Say of each refused engine which layers are noisy; return the worst of them, by engine."""
    noisiest = {}
    for refused in found.refused:
        if refused.file is None:
            continue
        logger.info("looking into the layers of %s", refused.engine)
        try:
            names = names_of(staged.onnx)
            probe = _probe(refused, staged, names)
            layers = compare_layers(look_into_parent(staged, request, names), probe, subject.laid())
        except ExportError as exc:
            found.notes.append(f"{refused.engine}: its layers could not be looked at: {exc}")
            continue
        noisiest[refused.engine] = layers[:WORST]
        refused.against.append(describe(layers))
        if refused.precision == "int8" and (named := standing_out(layers)):
            wide = ", ".join(f'"{layer.name}"' for layer in named)
            advice = f"to keep them in float32, quantise it anew by a recipe with wide = [{wide}]"
            found.notes.append(f"{refused.engine}: {advice}")
    return noisiest


def _probe(refused: Refused, staged: Staged, names: Mapping[str, str]) -> Probe:
    assert refused.file is not None
    if refused.file in OFFLINE.values():
        return OnnxProbe(staged.folder / refused.file, names)
    return OpenvinoProbe(staged.folder / refused.file, names, "bf16" if refused.precision == "bf16" else "f32")
