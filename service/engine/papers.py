"""The passport that lies beside an engine file: read, compared with what is here, refused or warned of.

What is compared is ``service.vision.passport``'s; this module finds out what is here.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

from service.engine.repository import StoredModel
from service.errors import RepositoryError
from service.vision.passport import SUFFIX, EnginePassport, FoundEngine, check
from service.vision.spec import SpecError

logger = logging.getLogger(__name__)

FORMATS = {".onnx": "onnx", ".xml": "openvino", ".plan": "tensorrt"}


def admit(stored: StoredModel, file: Path, versions: Mapping[str, str] | None) -> EnginePassport | None:
    """The passport of `file`, which is about to be loaded; None, with a warning, where it has none.

    versions: of what is to run it, by the names that passports use; None where a server looks at them itself. Raises
    RepositoryError with one line where the file is not the one its passport speaks of, or must not run here. Reads the
    whole file.
    """
    shown = f"{stored.spec.name}/{stored.spec.version}/{file.name}"
    passport = read_passport(stored, file)
    if passport is None:
        logger.warning("%s has no passport: nothing is known of how it was made and measured", shown)
        return None
    found = FoundEngine(
        file=file.name,
        format=FORMATS.get(file.suffix, file.suffix),
        sha256={name: digest for name in passport.sha256 if (digest := _sha256(file.parent, name))},
        made_from=stored.spec.sha256,
        input_shapes=stored.spec.input_shapes,
        versions=versions,
    )
    verdict = check(passport, found)
    if verdict.refusals:
        raise RepositoryError(f"{shown} is refused: {'; '.join(verdict.refusals)}")
    for warning in verdict.warnings:
        logger.warning("%s: %s; its known images decide", shown, warning)
    return passport


def read_passport(stored: StoredModel, file: Path) -> EnginePassport | None:
    """What the passport beside `file` says, unchecked; None where there is none. Raises RepositoryError."""
    path = file.with_name(file.name + SUFFIX)
    try:
        return EnginePassport.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, SpecError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise RepositoryError(f"{stored.spec.name}/{stored.spec.version}/{path.name}: {why}") from exc


def _sha256(folder: Path, name: str) -> str | None:
    # A name leads nowhere else: a passport comes from outside.
    if Path(name).name != name or not (folder / name).is_file():
        return None
    try:
        with (folder / name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
