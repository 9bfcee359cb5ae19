"""From a staged version to a published one, if every engine of it holds what its parent can.

The parent is the checkpoint in torch, or the model.onnx in ONNX Runtime where no checkpoint is given; both in float32,
outside the service. Whatever is published was measured; nothing is published if one engine fails.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from service.vision.detections import Detections
from service.vision.passport import EnginePassport, Measurement, Seen
from service.vision.spec import ModelSpec
from training.data import CocoDataset, DatasetError
from training.evaluate import EndpointError, Evaluation, score
from training.evaluate.endpoint import ask_object
from training.evaluate.model import Way, open_model
from training.evaluate.progress import shown
from training.export.exported import open_exported
from training.export.gate.offline import try_offline
from training.export.gate.page import PLOT, label, plot, render, rows
from training.export.gate.seen import reference_text, see
from training.export.gate.serving import serving
from training.export.gate.staged import OFFLINE, SERVED, Staged, alone, read_staged
from training.export.gate.trial import AT_ONCE, Subject, Trial, try_batches, try_engine
from training.export.gate.verdict import Bounds, judge, sentence
from training.export.passports import describe_engine, read_passport, sha256_of, write_passport
from training.export.repository import Publication, next_version, publish, staging
from training.export.session import ExportError

logger = logging.getLogger(__name__)

_HEADING = "\n## Engines\n"
REFERENCE = "reference.json"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be promoted, and how strictly.

    staged: a model's folder or a version's. data: what the set is called. engines: precisions to try; none: all that
    there are files for and this machine computes in. url: a running service that has the staged version loaded, whose
    engine is tried too. command: told in the card.
    """

    staged: Path
    repository: Path
    dataset: CocoDataset = field(repr=False)
    data: str
    name: str = ""
    checkpoint: Path | None = None
    engines: tuple[str, ...] = ()
    url: str = ""
    bounds: Bounds = field(default_factory=Bounds)
    command: str = "yolov7-training promote"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What came of it. table: text, see ``page.HEADS``. folder: of the published version; None where none was."""

    table: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    refusal: str
    folder: Path | None


@dataclass(frozen=True, slots=True)
class _Parent:
    name: str
    evaluation: Evaluation
    detections: dict[int, Detections] = field(repr=False)


@dataclass(slots=True)
class _Found:
    """What was found so far. against: engine and what speaks against it. seen: by file."""

    trials: list[Trial] = field(default_factory=list)
    against: list[tuple[str, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)


def promote(request: Request) -> Promotion:
    """Try every engine of a staged version, and publish it as the next version if all are within the bounds.

    Raises ExportError, CheckpointError, DatasetError, ConfigError for what cannot be tried at all.
    """
    staged = read_staged(request.staged)
    if len(staged.spec.class_names) != len(request.dataset.class_names):
        names = staged.spec.class_names
        raise DatasetError(f"the model has {len(names)} classes, the data {len(request.dataset.class_names)}")
    version = next_version(request.repository, request.name or staged.spec.name)
    parent = _score_parent(staged, request)
    exported = open_exported(staged.onnx)
    subject = Subject(
        staged.spec.name, staged.spec.input_shapes, request.dataset, exported.infer, parent=parent.detections
    )
    found = _try_all(request, staged, subject)
    _judge_all(request, parent, found)
    table = tuple(rows(found.trials, parent.evaluation, parent.name))
    if found.against or not found.trials:
        refusal = sentence(found.against or [("no engine", ["none could be tried"])])
        return Promotion(table, tuple(found.notes), refusal, None)
    folder = _publish(request, staged, version, parent, found)
    return Promotion(table, tuple(found.notes), "", folder)


def _try_all(request: Request, staged: Staged, subject: Subject) -> _Found:
    found = _Found()
    with alone(staged) as repository:
        for precision in request.engines or staged.precisions():
            with _noting(found, precision, chosen=bool(request.engines)):
                if precision in OFFLINE:
                    found.trials.append(try_offline(_whole(staged.folder / OFFLINE[precision]), subject))
                else:
                    _try_here(found, repository, precision, subject, request.data)
    if request.url:
        with _noting(found, request.url, chosen=True):
            _try_there(found, request.url, subject, staged, request.data)
    return found


def _judge_all(request: Request, parent: _Parent, found: _Found) -> None:
    for trial in found.trials:
        if against := judge(trial, parent.evaluation, request.bounds):
            found.against.append((label(trial), against))
        if trial.largest_batch == 1:
            found.notes.append(f"{label(trial)}: the service joined no pictures, so batches were not tried")
    # In ONNX Runtime it is the parent itself, where no checkpoint is.
    if request.checkpoint and not any(trial.file == "model.onnx" for trial in found.trials) and not found.against:
        found.against.append(("model.onnx", ["it was not tried, and no version is without it"]))


def _score_parent(staged: Staged, request: Request) -> _Parent:
    dataset = request.dataset
    if request.checkpoint is None:
        model, name = open_exported(staged.onnx), "parent: model.onnx, ONNX Runtime, f32"
    else:
        model, name = open_model(request.checkpoint, Way(staged.spec.input_shapes)), "parent: checkpoint, torch, f32"
    found = dict(shown(model.detect(dataset), len(dataset), name))
    return _Parent(name, score(dataset, found.items()), found)


def _whole(file: Path) -> Path:
    """The file, if it is the one its passport speaks of; of the others a service finds that out."""
    passport = read_passport(file)
    if passport is not None and passport.sha256.get(file.name) != sha256_of(file):
        raise ExportError(f"{file.name} is not the file its passport speaks of")
    return file


def _try_here(found: _Found, repository: Path, precision: str, subject: Subject, data: str) -> None:
    """In a service that is started for it, as it is by default; then in one that joins pictures."""
    file = SERVED[precision]
    settings = {"precision": precision, "openvino_cache_dir": str(repository / ".openvino")}
    logger.info("trying %s in %s", file, precision)
    with serving(repository, subject.name, settings) as url:
        trial = try_engine(url, file, subject)
        if file not in found.seen:
            found.seen[file] = see(url, subject.name, subject.dataset, data)
    settings |= {"max_batch_size": str(AT_ONCE), "streams": "1"}
    with serving(repository, subject.name, settings) as url:
        together, largest = try_batches(url, subject, trial)
    found.trials.append(replace(trial, together=together, largest_batch=largest))


def _try_there(found: _Found, url: str, subject: Subject, staged: Staged, data: str) -> None:
    """In a service that runs elsewhere, which must have this very version."""
    about = ask_object(url, f"/v1/models/{subject.name}")
    if about["sha256"] != staged.spec.sha256:
        raise ExportError(f"{subject.name}/{about['version']} there was made from another model.onnx")
    passport = about.get("passport") or {"file": "model.onnx", "sha256": {}}
    file = passport["file"]
    known = read_passport(staged.folder / file)
    if known is not None and passport["sha256"] and passport["sha256"] != known.sha256:
        raise ExportError(f"{file} there is another file than here")
    logger.info("trying %s at %s", file, url)
    found.trials.append(try_engine(url, file, subject))
    if file not in found.seen:
        found.seen[file] = see(url, subject.name, subject.dataset, data)


@contextmanager
def _noting(found: _Found, engine: str, *, chosen: bool) -> Iterator[None]:
    """An engine that cannot be tried counts against the version, unless it is only this machine that lacks it."""
    try:
        yield
    except (ExportError, EndpointError) as exc:
        if not chosen and "does not compute in it" in str(exc):
            found.notes.append(f"{engine} was not tried: {exc}")
        else:
            found.against.append((engine, [str(exc)]))


def _publish(request: Request, staged: Staged, version: str, parent: _Parent, found: _Found) -> Path:
    own = next((trial for trial in found.trials if trial.file == "model.onnx"), parent)
    spec = replace(
        staged.spec,
        name=request.name or staged.spec.name,
        version=version,
        average_precision=figures(own.evaluation),
    )
    engines = dict.fromkeys(["model.onnx", *(trial.file for trial in found.trials)])
    with staging(request.repository) as folder:
        beside = []
        for name in engines:
            for file in staged.files_of(name):
                shutil.copy(file, folder / file.name)
                beside.append(folder / file.name)
            passport = _passport(staged, name, parent, found)
            beside.append(write_passport(folder / name, passport))
        if (seen := found.seen.get("model.onnx")) is not None:
            (folder / REFERENCE).write_text(reference_text(seen), encoding="utf-8")
            beside.append(folder / REFERENCE)
        table = rows(found.trials, parent.evaluation, parent.name)
        engines_part = render(table, found.trials, data=request.data, command=request.command)
        papers = {PLOT: plot(found.trials, parent.evaluation, parent.name)}
        papers |= staged.config_for(spec.name, engines)
        card = _card(staged, spec, engines_part)
        onnx = beside.pop(0)
        return publish(request.repository, onnx, Publication(spec, card, tuple(beside), papers))


def _passport(staged: Staged, name: str, parent: _Parent, found: _Found) -> EnginePassport:
    """The file's passport with what was measured of it here."""
    file = staged.folder / name
    trials = [trial for trial in found.trials if trial.file == name]
    stored = staged.spec.precision if name == "model.onnx" else trials[0].precision
    passport = read_passport(file) or describe_engine(
        file, staged.spec, precision=stored, versions={}, origin=staged.spec.origin
    )
    runtimes = [
        (trial.engine.partition(" ")[0], trial.engine.partition(" ")[2]) for trial in trials if " " in trial.engine
    ]
    return replace(
        passport,
        versions=passport.versions | dict(runtimes),
        parent=figures(parent.evaluation),
        measurements=tuple(_measurement(trial) for trial in trials),
        seen=found.seen.get(name),
    )


def _measurement(trial: Trial) -> Measurement:
    return Measurement(trial.precision, trial.engine, trial.device, figures(trial.evaluation), dict(trial.latency_ms))


def _card(staged: Staged, spec: ModelSpec, engines: str) -> str:
    """The staged card with the new title, its part on engines replaced."""
    before, _, rest = staged.card.partition(_HEADING)
    # What followed that part stays.
    after = rest[rest.find("\n## ") :] if "\n## " in rest else ""
    _, _, body = before.partition("\n")
    parts = (f"# {spec.name}, version {spec.version}", body.strip(), after.strip(), engines)
    return "\n\n".join(part for part in parts if part) + "\n"


def figures(evaluation: Evaluation) -> dict[str, float]:
    """Return AP, AP50 and AP75, and those of each class that has objects, by name."""
    named = {"AP": evaluation.ap, "AP50": evaluation.ap50, "AP75": evaluation.ap75}
    for name, scores in evaluation.per_class.items():
        named |= {f"AP {name}": scores.ap, f"AP50 {name}": scores.ap50}
    return {name: round(value, 4) for name, value in named.items() if value == value}
