"""The model's passport: what a gateway must know of a model, and nothing of the network inside.

It lies beside config.pbtxt as spec.json, written by training's export and read by both engines. With it comes the known
image: a picture drawn from a seed, never a photo, and the answer the model gave for it at export, by which readiness
finds out whether the engine still sees.
"""

import json
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates

_Kind = TypeVar("_Kind")


class SpecError(Exception):
    """A spec.json or passport that does not say what it must; the text is one line that names the key."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownImage:
    """generate_image(seed, shape_hw) as the network's input, and the model's best few candidates for it."""

    seed: int
    shape_hw: tuple[int, int]
    candidates: Candidates


@dataclass(frozen=True, slots=True, eq=False)
class ModelSpec:
    """One version of one model.

    input_shapes: (H, W), the first is the default. max_candidates: the served graph's K; score_floor: its lowest score.
    precision: of the stored weights. sha256: of model.onnx. origin: where the weights come from (commit, data, ...).
    average_precision: what was measured, by name of the measurement. known_images: one for each input shape.
    """

    name: str
    version: str
    variant: str
    class_names: tuple[str, ...]
    input_shapes: tuple[tuple[int, int], ...]
    max_candidates: int
    score_floor: float
    precision: str
    sha256: str
    origin: dict[str, str]
    average_precision: dict[str, float]
    known_images: tuple[KnownImage, ...]
    input_name: str = "images"
    output_names: tuple[str, ...] = ("boxes", "scores", "classes", "predictions")

    def to_json(self) -> str:
        """The file's text; from_json gives back the same numbers to the last bit."""
        document = {key: getattr(self, key) for key in _keys(type(self))}
        document["known_images"] = [known_image_to_json(known) for known in self.known_images]
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads a spec.json; every key must be there and no other. Raises SpecError."""
        spec = JsonObject(parse_json(text, "spec"), "spec", _keys(cls))
        if not spec.of("known_images", list):
            raise SpecError("the spec has no known image, so nothing could tell whether the model sees")
        return cls(
            name=spec.of("name", str),
            version=spec.of("version", str),
            variant=spec.of("variant", str),
            class_names=spec.texts("class_names"),
            input_shapes=spec.sizes("input_shapes"),
            max_candidates=spec.of("max_candidates", int),
            score_floor=spec.number("score_floor"),
            precision=spec.of("precision", str),
            sha256=spec.of("sha256", str),
            origin=spec.of("origin", dict),
            average_precision=spec.of("average_precision", dict),
            known_images=tuple(known_image_from_json(known) for known in spec.of("known_images", list)),
            input_name=spec.of("input_name", str),
            output_names=spec.texts("output_names"),
        )


def generate_image(seed: int, shape_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8, the same on every machine and NumPy version: a gradient, blocks, discs and grain.

    Whole numbers only, from the generator's raw stream, which NumPy promises to keep (its distributions it does not).
    Drawn at a quarter of the size and enlarged by repetition; shapes of every size, for every level of a detector.
    """
    rows, columns = -(-shape_hw[0] // 4), -(-shape_hw[1] // 4)
    bits = np.random.PCG64(seed)
    y, x = np.indices((rows, columns))
    slope = _draw(bits, 6, 256).reshape(2, 3)
    canvas = (y[..., None] * slope[0] // rows + x[..., None] * slope[1] // columns) // 2
    for index in range(40):
        centre_y, centre_x, size, stretch, *colour = _draw(bits, 7, 1 << 16).tolist()
        dy, dx = y - (centre_y * rows >> 16), x - (centre_x * columns >> 16)
        # Early shapes are large, late ones small, so none hides all that came before.
        radius = 1 + (size * min(rows, columns) >> 16) // (2 + index // 4)
        wide = radius * (1 + (stretch >> 15))
        inside = dy**2 + dx**2 <= radius**2 if index % 2 else (abs(dy) <= radius) & (abs(dx) <= wide)
        canvas[inside] = np.array(colour) >> 8
    grain = _draw(bits, rows * columns, 33).reshape(rows, columns, 1) - 16
    picture = np.clip(canvas + grain, 0, 255).astype(np.uint8)
    enlarged = picture.repeat(4, axis=0).repeat(4, axis=1)
    return np.ascontiguousarray(enlarged[: shape_hw[0], : shape_hw[1]])


def _draw(bits: np.random.PCG64, count: int, below: int) -> NDArray[np.int64]:
    return (bits.random_raw(count) >> np.uint64(32)).astype(np.int64) * below >> 32


def parse_json(text: str, what: str) -> Any:
    """The document in a file that came from outside. Raises SpecError.

    Numbers that are not finite and halves of characters are refused here: no answer could show them later.
    """
    try:
        document = json.loads(text, parse_float=_finite, parse_constant=_finite)
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SpecError(f"the {what} is not JSON: {error}") from error
    return document


def _finite(number: str) -> float:
    if not isfinite(value := float(number)):
        raise ValueError(f"{number} is no number that JSON has")
    return value


def known_image_to_json(known: KnownImage) -> dict[str, Any]:
    """As the files have it."""
    arrays = {key: getattr(known.candidates, key).tolist() for key in _keys(Candidates)}
    return {"seed": known.seed, "shape_hw": known.shape_hw, **arrays}


def known_image_from_json(document: Any) -> KnownImage:
    """What known_image_to_json made. Raises SpecError."""
    known = JsonObject(document, "known image", ["seed", "shape_hw", *_keys(Candidates)])
    try:
        candidates = Candidates(
            boxes=np.array(known.of("boxes", list), np.float32).reshape(-1, 4),
            scores=np.array(known.of("scores", list), np.float32),
            classes=np.array(known.of("classes", list), np.int32),
            predictions=np.array(known.of("predictions", list), np.int32),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise SpecError(f"the known image's candidates are not arrays of numbers: {error}") from error
    if len({len(candidates.boxes), len(candidates.scores), len(candidates.classes), len(candidates.predictions)}) > 1:
        raise SpecError("the known image has not as many boxes as scores, classes and predictions")
    if known.of("seed", int) < 0:
        raise SpecError(f"the known image's seed is {known.of('seed', int)}, less than 0")
    return KnownImage(known.of("seed", int), known.size("shape_hw"), candidates)


def _keys(kind: type[ModelSpec] | type[Candidates]) -> list[str]:
    return [field.name for field in fields(kind)]


class JsonObject:
    """A JSON object with exactly the keys expected, read with the types expected."""

    def __init__(self, document: Any, what: str, keys: list[str]) -> None:
        if not isinstance(document, dict):
            raise SpecError(f"the {what} is not a JSON object")
        if missing := [key for key in keys if key not in document]:
            raise SpecError(f"the {what} lacks {', '.join(missing)}")
        if unknown := [key for key in document if key not in keys]:
            raise SpecError(f"the {what} has unknown keys: {', '.join(unknown)}; is it of a newer release?")
        self._document = document
        self._what = what

    def of(self, key: str, kind: type[_Kind]) -> _Kind:
        """The value of a key, which must be of that type. Raises SpecError."""
        value = self._document[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._wrong(key, kind.__name__)
        return value

    def number(self, key: str) -> float:
        """A float, written with or without a point. Raises SpecError."""
        return self.of(key, int) if isinstance(self._document[key], int) else self.of(key, float)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings. Raises SpecError."""
        values = self.of(key, list)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(key, "list of str")
        return tuple(values)

    def sizes(self, key: str) -> tuple[tuple[int, int], ...]:
        """A list of [height, width], not empty. Raises SpecError."""
        values = self.of(key, list)
        if not values or not all(_is_size(value) for value in values):
            raise self._wrong(key, "list of [height, width]")
        return tuple((height, width) for height, width in values)

    def size(self, key: str) -> tuple[int, int]:
        """[height, width]. Raises SpecError."""
        value = self.of(key, list)
        if not _is_size(value):
            raise self._wrong(key, "[height, width]")
        return value[0], value[1]

    def _wrong(self, key: str, expected: str) -> SpecError:
        return SpecError(f"{key} of the {self._what} is {self._document[key]!r}, not {expected}")


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)
