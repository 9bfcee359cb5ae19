"""The model's passport: what a gateway must know of a model, and nothing of the network inside.

It lies beside config.pbtxt as spec.json, written by training's export and read by both engines. Also the known image: a picture drawn
from a seed, with the answer the model gave at export, by which readiness finds out whether the engine still sees.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates


class SpecError(Exception):
    """A spec.json that does not say what it must; the text is one line that names the key."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownImage:
    """generate_image(seed, shape_hw) as network input, and the model's best few candidates for it."""

    seed: int
    shape_hw: tuple[int, int]
    candidates: Candidates


@dataclass(frozen=True, slots=True, eq=False)
class ModelSpec:
    """input_shapes: (H, W), the first is the default. max_candidates: K of the served graph. score_floor: lowest score it gives.

    precision: of the stored weights. sha256: of model.onnx. origin: where the weights come from (commit, data, ...).
    average_precision: what was measured, by protocol and data. known_images: one for each input shape.
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
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document["known_images"] = [_known_image_to_json(known) for known in self.known_images]
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        try:
            document = json.loads(text)
        except ValueError as error:
            raise SpecError(f"not JSON: {error}") from error
        _check_keys(document, {field.name for field in fields(cls)}, "spec")
        document["class_names"] = tuple(document["class_names"])
        document["output_names"] = tuple(document["output_names"])
        document["input_shapes"] = tuple((height, width) for height, width in document["input_shapes"])
        document["known_images"] = tuple(_known_image_from_json(known) for known in document["known_images"])
        return cls(**document)


def generate_image(seed: int, shape_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 that is the same on every machine and NumPy version."""
    raw = np.random.PCG64(seed).random_raw(8 * 8 * 3) >> np.uint64(56)
    blocks = raw.astype(np.uint8).reshape(8, 8, 3)
    height, width = shape_hw
    return np.ascontiguousarray(blocks[np.arange(height) * 8 // height][:, np.arange(width) * 8 // width])


def _known_image_to_json(known: KnownImage) -> dict[str, Any]:
    return {
        "seed": known.seed,
        "shape_hw": known.shape_hw,
        "boxes": known.candidates.boxes.tolist(),
        "scores": known.candidates.scores.tolist(),
        "classes": known.candidates.classes.tolist(),
        "predictions": known.candidates.predictions.tolist(),
    }


def _known_image_from_json(document: dict[str, Any]) -> KnownImage:
    _check_keys(document, {"seed", "shape_hw", "boxes", "scores", "classes", "predictions"}, "known image")
    height, width = document["shape_hw"]
    candidates = Candidates(
        boxes=np.array(document["boxes"], np.float32).reshape(-1, 4),
        scores=np.array(document["scores"], np.float32),
        classes=np.array(document["classes"], np.int32),
        predictions=np.array(document["predictions"], np.int32),
    )
    return KnownImage(document["seed"], (height, width), candidates)


def _check_keys(document: dict[str, Any], expected: set[str], what: str) -> None:
    if missing := sorted(expected - document.keys()):
        raise SpecError(f"the {what} lacks {', '.join(missing)}")
    if unknown := sorted(document.keys() - expected):
        raise SpecError(f"the {what} has unknown keys: {', '.join(unknown)}")
