"""The published version: the files that were tried, their passports with what was measured, the card with the table.

Whatever is published was measured: a file that is not the one that was tried any more is not.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from service.vision.passport import EnginePassport, Measurement
from service.vision.spec import ModelSpec
from training.evaluate import Evaluation
from training.export.gate.page import PLOT, plot, render, rows
from training.export.gate.parent import Parent
from training.export.gate.request import Request
from training.export.gate.seen import reference_text
from training.export.gate.staged import Staged
from training.export.gate.trial import Trial
from training.export.gate.trials import Findings
from training.export.passports import describe_engine, read_passport, sha256_of, write_passport
from training.export.repository import Publication, next_version, publish, staging
from training.export.session import ExportError

_HEADING = "\n## Engines\n"
_REFERENCE = "reference.json"


@dataclass(frozen=True, slots=True)
class Release:
    """What was asked, what was tried, and what came of it."""

    request: Request
    staged: Staged
    parent: Parent
    found: Findings

    @property
    def name(self) -> str:
        """Of the published model."""
        return self.request.name or self.staged.spec.name

    def publish(self) -> Path:
        """Publish it as the next version; return its folder. Raises ExportError."""
        repository, found = self.request.repository, self.found
        # Without a checkpoint it is the parent, which was measured first; elsewhere another file may have been run.
        if self.request.checkpoint and all(trial.file != "model.onnx" for trial in found.trials):
            raise ExportError("no version is without model.onnx, which was not tried")
        engines = list(dict.fromkeys(["model.onnx", *(trial.file for trial in found.trials)]))
        try:
            with staging(repository) as folder:
                beside = [path for name in engines for path in self._put(name, folder)]
                if seen := found.seen.get("model.onnx") or next(iter(found.seen.values()), None):
                    beside.append(folder / _REFERENCE)
                    beside[-1].write_text(reference_text(seen), encoding="utf-8")
                # Only now: another promotion may have taken a number while engines were tried here.
                spec = self._spec(next_version(repository, self.name))
                papers = {PLOT: plot(found.trials, self.parent.evaluation, self.parent.name)}
                papers |= self.staged.config_for(spec.name, engines)
                publication = Publication(spec, self._card(spec), tuple(beside[1:]), papers)
                return publish(repository, beside[0], publication)
        except OSError as exc:
            raise ExportError(f"{repository}: {exc.strerror}") from exc

    def _put(self, name: str, folder: Path) -> list[Path]:
        """Copy an engine file, which is the first of what is returned, and write its passport."""
        passport = self._passport(name)
        copies = [Path(shutil.copy(file, folder / file.name)) for file in self.staged.files_of(name)]
        tried = self.found.digests.get(name, {"model.onnx": self.staged.spec.sha256})
        if {copy.name: sha256_of(copy) for copy in copies} != tried:
            raise ExportError(f"{name} was changed while it was tried")
        return [*copies, write_passport(folder / name, replace(passport, sha256=tried))]

    def _spec(self, version: str) -> ModelSpec:
        own = next((trial for trial in self.found.trials if trial.file == "model.onnx"), self.parent)
        figures_of_it = figures(own.evaluation)
        return replace(self.staged.spec, name=self.name, version=version, average_precision=figures_of_it)

    def _passport(self, name: str) -> EnginePassport:
        """The file's passport with what was measured of it here."""
        file, spec = self.staged.folder / name, self.staged.spec
        trials = [trial for trial in self.found.trials if trial.file == name]
        stored = spec.precision if name == "model.onnx" else trials[0].precision
        passport = read_passport(file) or describe_engine(file, spec, precision=stored, versions={}, origin=spec.origin)
        return replace(
            passport,
            versions=passport.versions | _runtimes(trials),
            parent=figures(self.parent.evaluation),
            measurements=tuple(_measurement(trial) for trial in trials),
            seen=self.found.seen.get(name),
        )

    def _card(self, spec: ModelSpec) -> str:
        """The staged card with the new title, its part on engines replaced."""
        table = rows(self.found.trials, self.parent.evaluation, self.parent.name)
        engines = render(table, self.found.trials, data=self.request.data, command=self.request.command)
        before, _, rest = self.staged.card.partition(_HEADING)
        # What followed that part stays.
        after = rest[rest.find("\n## ") :] if "\n## " in rest else ""
        _, _, body = before.partition("\n")
        parts = (f"# {spec.name}, version {spec.version}", body.strip(), after.strip(), engines)
        return "\n\n".join(part for part in parts if part) + "\n"


def _runtimes(trials: Iterable[Trial]) -> dict[str, str]:
    """What ran it, and which version of that: "openvino 2026.4.1" and the like."""
    named = (trial.engine.partition(" ") for trial in trials)
    return {name: version for name, _, version in named if version}


def _measurement(trial: Trial) -> Measurement:
    return Measurement(trial.precision, trial.engine, trial.device, figures(trial.evaluation), dict(trial.latency_ms))


def figures(evaluation: Evaluation) -> dict[str, float]:
    """Return AP, AP50 and AP75, and those of each class that has objects, by name."""
    named = {"AP": evaluation.ap, "AP50": evaluation.ap50, "AP75": evaluation.ap75}
    for name, scores in evaluation.per_class.items():
        named |= {f"AP {name}": scores.ap, f"AP50 {name}": scores.ap50}
    return {name: round(value, 4) for name, value in named.items() if value == value}
