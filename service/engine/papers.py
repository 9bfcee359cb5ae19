"""The passport that lies beside an engine file: read, compared with what is here, refused or warned of.

What is compared is ``service.vision.passport``'s; this module finds out what is here. A passport comes from outside, so
it is read with bounds, and whatever it says makes one line.
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
# That of a model with five input shapes takes 15 KB, most of which is its answers to their known images.
LARGEST_PASSPORT = 1 << 20
LONGEST_LINE = 500


def admit(
    stored: StoredModel, file: Path, versions: Mapping[str, str] | None, contents: Mapping[str, bytes] = {}
) -> EnginePassport | None:
    """The passport of `file`, which is about to be loaded; None, with a warning, where it has none.

    versions: of what is to run it, by the names that passports use; None where a server looks at them itself.
    contents: what was read of the files already, by name; others are read here. Raises RepositoryError with one line
    where the file is not the one its passport speaks of, must not run here, or has nothing that vouches for it: the
    spec does for model.onnx, and the server for what it loads itself.
    """
    shown = f"{stored.spec.name}/{stored.spec.version}/{file.name}"
    passport = read_passport(stored, file)
    if passport is None:
        if versions is not None and _sha256(file, contents) != stored.spec.sha256:
            raise RepositoryError(f"{shown} is refused: it has no passport, and is not the file its spec speaks of")
        logger.warning("%s has no passport: nothing is known of how it was made and measured", shown)
        return None
    found = FoundEngine(
        file=file.name,
        format=FORMATS.get(file.suffix, file.suffix),
        sha256={name: digest for name in passport.sha256 if (digest := _sha256(file.with_name(name), contents))},
        made_from=stored.spec.sha256,
        input_shapes=stored.spec.input_shapes,
        versions=versions,
    )
    verdict = check(passport, found)
    if verdict.refusals:
        raise RepositoryError(_one_line(f"{shown} is refused: {'; '.join(verdict.refusals)}"))
    for warning in verdict.warnings:
        logger.warning("%s", _one_line(f"{shown}: {warning}; its known images decide"))
    return passport


def read_passport(stored: StoredModel, file: Path) -> EnginePassport | None:
    """What the passport beside `file` says, unchecked; None where there is none. Raises RepositoryError."""
    path = file.with_name(file.name + SUFFIX)
    try:
        with path.open("rb") as opened:
            data = opened.read(LARGEST_PASSPORT + 1)
        if len(data) > LARGEST_PASSPORT:
            raise SpecError(f"no passport is larger than {LARGEST_PASSPORT >> 20} MiB")
        return EnginePassport.from_json(data.decode())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, SpecError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise RepositoryError(_one_line(f"{stored.spec.name}/{stored.spec.version}/{path.name}: {why}")) from exc


def _sha256(path: Path, contents: Mapping[str, bytes]) -> str | None:
    if path.name in contents:
        return hashlib.sha256(contents[path.name]).hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _one_line(text: str) -> str:
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."
