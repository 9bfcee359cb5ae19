"""All engines of a staged version on trial, each in a service of its own, or outside where no service runs its file."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from service.vision.passport import Seen
from training.evaluate import Endpoint, EndpointError
from training.export.gate.offline import admit, try_offline
from training.export.gate.page import label
from training.export.gate.request import Request
from training.export.gate.seen import see
from training.export.gate.serving import serving
from training.export.gate.staged import OFFLINE, SERVED, Staged, alone
from training.export.gate.subject import Subject
from training.export.gate.trial import AT_ONCE, NotReady, Trial, describe, try_batches, try_engine
from training.export.session import ExportError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """An engine, and what speaks against it. file: here, that runs and answers wrongly; else None."""

    engine: str
    against: list[str]
    file: str | None = None
    precision: str = ""


@dataclass(slots=True)
class Findings:
    """What was found so far. seen: by file. digests: sha256 of what was tried, by file and part."""

    trials: list[Trial] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    digests: dict[str, dict[str, str]] = field(default_factory=dict)


def try_all(request: Request, staged: Staged, subject: Subject) -> Findings:
    """Try every engine that is asked for; what cannot be tried is told among what speaks against it."""
    found = Findings()
    with alone(staged) as repository:
        for precision in dict.fromkeys(request.engines or staged.precisions()):
            with _noting(found, precision, chosen=bool(request.engines)):
                if precision in OFFLINE:
                    _try_outside(found, OFFLINE[precision], staged, subject)
                else:
                    _try_here(found, repository, precision, staged, subject, request.data)
    if request.elsewhere is not None:
        with _noting(found, request.elsewhere.url, chosen=True):
            _try_there(found, request.elsewhere, staged, subject, request.data)
    for trial in found.trials:
        if trial.largest_batch == 1:
            found.notes.append(f"{label(trial)}: the service joined no pictures, so batches were not tried")
        if trial.largest_batch == 0:
            found.notes.append(
                f"{label(trial)}: the service does not tell its metrics, so not whether it joins pictures"
            )
    return found


def _try_outside(found: Findings, file: str, staged: Staged, subject: Subject) -> None:
    logger.info("trying %s in ONNX Runtime", file)
    admit(staged.folder / file, staged.spec)
    found.digests[file] = staged.digests(file)
    found.trials.append(try_offline(staged.folder / file, subject))


def _try_here(found: Findings, repository: Path, precision: str, staged: Staged, subject: Subject, data: str) -> None:
    """In a service that is started for it, as it is by default; then in one that joins pictures."""
    file = SERVED[precision]
    settings = {"precision": precision, "openvino_cache_dir": str(repository / ".openvino")}
    logger.info("trying %s in %s", file, precision)
    if file not in found.digests and (staged.folder / file).is_file():
        found.digests[file] = staged.digests(file)
    with serving(repository, subject.name, settings) as endpoint:
        trial = try_engine(endpoint, file, subject)
        if file not in found.seen:
            found.seen[file] = see(endpoint, subject.name, subject.dataset, data)
    settings |= {"max_batch_size": str(AT_ONCE), "streams": "1"}
    with serving(repository, subject.name, settings) as endpoint:
        together, largest = try_batches(endpoint, subject, trial)
    found.trials.append(replace(trial, together=together, largest_batch=largest))


def _try_there(found: Findings, endpoint: Endpoint, staged: Staged, subject: Subject, data: str) -> None:
    """In a service that runs elsewhere, which must have this very version."""
    about = describe(endpoint, subject.name)
    if about["sha256"] != staged.spec.sha256:
        raise ExportError(f"{subject.name}/{about['version']} there was made from another model.onnx")
    file = _same_file(about, staged)
    found.digests.setdefault(file, staged.digests(file))
    logger.info("trying %s at %s", file, endpoint)
    trial = try_engine(endpoint, file, subject)
    seen = see(endpoint, subject.name, subject.dataset, data)
    after = describe(endpoint, subject.name)
    if any(after.get(key) != about.get(key) for key in ("version", "sha256", "passport")):
        raise ExportError(f"{subject.name}/{about['version']} was replaced there while it was tried")
    found.trials.append(replace(trial, url=endpoint.url))
    found.seen.setdefault(file, seen)


def _same_file(about: Mapping[str, Any], staged: Staged) -> str:
    """The staged file that a service has loaded, which it tells by its passport; what is published is the file here."""
    passport = about.get("passport")
    if passport is None:
        if about["precision"] == "int8":
            raise ExportError("the file that runs there has no passport: it cannot be told which it is")
        return "model.onnx"  # the one that its spec speaks of
    file = str(passport.get("file"))
    if Path(file).name != file or not (staged.folder / file).is_file():
        raise ExportError(f"{file}, which runs there, does not lie in {staged.folder}")
    if passport.get("sha256") != staged.digests(file):
        raise ExportError(f"{file} there is another file than here")
    return file


@contextmanager
def _noting(found: Findings, engine: str, *, chosen: bool) -> Iterator[None]:
    """An engine that cannot be tried counts against the version, unless it is only this machine that lacks it."""
    try:
        yield
    except NotReady as exc:
        found.refused.append(Refused(engine, [str(exc)], SERVED.get(engine), engine))
    except (ExportError, EndpointError) as exc:
        if not chosen and "does not compute in it" in str(exc):
            found.notes.append(f"{engine} was not tried: {exc}")
        else:
            found.refused.append(Refused(engine, [str(exc)]))
