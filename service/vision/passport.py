"""The passport of one engine file: what it is, what it was measured to be, and where it may run.

It lies beside the file as ``<file>.passport.json``. The spec speaks of a version of a model, a passport of one of the
files that can run it: ``model.onnx``, ``model.int8.xml``, a TensorRT plan. ``check`` compares it with what was found on
a machine; finding that out is others' work.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from service.vision.spec import (
    JsonObject,
    KnownImage,
    SpecError,
    known_image_from_json,
    known_image_to_json,
    parse_json,
)

SUFFIX = ".passport.json"
# A plan is machine code for one kind of GPU, written for one release of TensorRT.
PLAN_FORMAT = "tensorrt"
BOUND = ("tensorrt", "architecture")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one runtime made of the file.

    precision: what it computed in. engine: runtime and version. device: what computed. average_precision: 0 to 1, by
    name, through the whole service. latency_ms: of one image alone ("1") and until eight that came at once are
    answered ("8").
    """

    precision: str
    engine: str
    device: str
    average_precision: dict[str, float]
    latency_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the engine sees in the validation set: objects that score 0.25 or more, against which drift is told.

    score, size: their means; a size is the root of the box's part of the picture. classes: each one's part of them.
    scores: how many of them lie in each of 15 bins between 0.25 and 1.
    """

    data: str
    images: int
    objects: int
    score: float
    size: float
    classes: dict[str, float]
    scores: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EnginePassport:
    """One engine file.

    sha256: of the file and of what belongs to it, by name. made_from: sha256 of the version's model.onnx.
    input_shapes: (H, W). versions: of what made and checked it (onnxruntime, openvino, tensorrt, architecture, driver).
    origin: weights, data, config and commit, where they are known. parent: the AP of what it was made from.
    known_images: its own answers to the known images; none where those of the spec hold for it.
    """

    file: str
    format: str  # onnx, openvino or tensorrt
    precision: str  # of what is stored
    sha256: dict[str, str]
    made_from: str
    input_shapes: tuple[tuple[int, int], ...]
    versions: dict[str, str]
    origin: dict[str, str] = field(default_factory=dict)
    parent: dict[str, float] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    seen: Seen | None = None
    known_images: tuple[KnownImage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        document: dict[str, Any] = {key.name: getattr(self, key.name) for key in fields(self)}
        document["measurements"] = [asdict(measured) for measured in self.measurements]
        document["seen"] = asdict(self.seen) if self.seen else None
        document["known_images"] = [known_image_to_json(known) for known in self.known_images]
        return document

    def to_json(self) -> str:
        """The file's text; from_json gives back the same numbers to the last bit."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads a passport; every key must be there and no other. Raises SpecError."""
        document = parse_json(text, "passport")
        read = JsonObject(document, "passport", [key.name for key in fields(cls)])
        return cls(
            file=read.of("file", str),
            format=read.of("format", str),
            precision=read.of("precision", str),
            sha256=_digests(read),
            made_from=read.of("made_from", str),
            input_shapes=read.sizes("input_shapes"),
            versions=_table(read, "versions", str),
            origin=_table(read, "origin", str),
            parent=_table(read, "parent", float),
            measurements=tuple(_measurement(one) for one in read.of("measurements", list)),
            seen=None if document["seen"] is None else _seen(document["seen"]),
            known_images=tuple(known_image_from_json(known) for known in read.of("known_images", list)),
        )


@dataclass(frozen=True, slots=True)
class FoundEngine:
    """What is there where a file is to be loaded.

    sha256: of each file that the passport names, as far as it is there. made_from: sha256 of the version's model.onnx,
    by its spec. input_shapes: those that are to be served. versions: of what is to run it, as far as that is known;
    None where something elsewhere loads the file and looks at versions itself.
    """

    file: str
    format: str
    sha256: Mapping[str, str]
    made_from: str
    input_shapes: tuple[tuple[int, int], ...]
    versions: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the file must not be loaded, and what else is worth knowing; a line each."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def check(passport: EnginePassport, found: FoundEngine) -> Verdict:
    """Whether a file is the engine that its passport speaks of, and may run here.

    What differs in version is only warned of: whether it matters, the known image tells. For a plan, TensorRT and the
    GPU's architecture must be known and the same.
    """
    refusals = [
        *([f"its passport is of {passport.file}"] if passport.file != found.file else []),
        *_wrong_files(passport, found),
        *([] if passport.made_from == found.made_from else ["it was made from another model.onnx than this version's"]),
    ]
    if passport.format != found.format:
        refusals.append(f"its passport is of format {passport.format}, not {found.format}")
    if set(passport.input_shapes) != set(found.input_shapes):
        refusals.append(f"it is for {_shapes(passport.input_shapes)}, not for {_shapes(found.input_shapes)}")
    elif foreign := {known.shape_hw for known in passport.known_images} - set(found.input_shapes):
        refusals.append(f"its known images are of {_shapes(tuple(foreign))}, which it does not take")
    if found.versions is None:
        return Verdict(tuple(refusals))
    bound = BOUND if passport.format == PLAN_FORMAT else ()
    for what in bound:
        built, here = passport.versions.get(what), found.versions.get(what)
        if built is None or built != here:
            refusals.append(f"it was built for {what} {built or 'unknown'}, here is {here or 'none'}")
    warnings = [
        f"it was checked with {what} {known}, here is {found.versions[what]}"
        for what, known in passport.versions.items()
        if what not in bound and found.versions.get(what, known) != known
    ]
    return Verdict(tuple(refusals), tuple(warnings))


def _wrong_files(passport: EnginePassport, found: FoundEngine) -> list[str]:
    parts = [passport.file, *([passport.file.removesuffix(".xml") + ".bin"] if found.format == "openvino" else [])]
    if unvouched := [part for part in parts if part not in passport.sha256]:
        return [f"its passport has no sha256 of {' and '.join(unvouched)}"]
    wrong = []
    for name, expected in passport.sha256.items():
        here = found.sha256.get(name)
        if here is None:
            wrong.append(f"{name} is missing")
        elif here != expected:
            wrong.append(f"{name} is not the file its passport speaks of: sha256 {here}, expected {expected}")
    return wrong


def _shapes(shapes: tuple[tuple[int, int], ...]) -> str:
    return " ".join(f"{height}x{width}" for height, width in shapes)


def _measurement(document: Any) -> Measurement:
    read = JsonObject(document, "measurement", [key.name for key in fields(Measurement)])
    return Measurement(
        precision=read.of("precision", str),
        engine=read.of("engine", str),
        device=read.of("device", str),
        average_precision=_table(read, "average_precision", float),
        latency_ms=_table(read, "latency_ms", float),
    )


def _seen(document: Any) -> Seen:
    read = JsonObject(document, "part `seen` of the passport", [key.name for key in fields(Seen)])
    scores = read.of("scores", list)
    if not all(type(count) is int for count in scores):
        raise SpecError("scores of the passport are not whole numbers")
    return Seen(
        data=read.of("data", str),
        images=read.of("images", int),
        objects=read.of("objects", int),
        score=read.number("score"),
        size=read.number("size"),
        classes=_table(read, "classes", float),
        scores=tuple(scores),
    )


def _digests(read: JsonObject) -> dict[str, str]:
    """Of files beside the passport: a name that could lead anywhere else is refused before it is looked for."""
    digests = _table(read, "sha256", str)
    if wrong := [name for name in digests if not _FILE_NAME.fullmatch(name)]:
        raise SpecError(f"sha256 of the passport is of {wrong[0]!r}, which is no name of a file beside it")
    return digests


def _table(read: JsonObject, key: str, kind: type[str] | type[float]) -> dict[str, Any]:
    table = read.of(key, dict)
    expected = (int, float) if kind is float else (str,)
    if wrong := [name for name, value in table.items() if type(value) not in expected]:
        raise SpecError(f"{key} of the passport: {wrong[0]!r} is {table[wrong[0]]!r}, not {kind.__name__}")
    return table
