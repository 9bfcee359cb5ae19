"""The answers as the wire shows them: pydantic models that document them, and what writes them.

The models are not run per request: the document is written straight from the arrays, once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field

from service.vision.detections import Detections
from service.vision.spec import ModelSpec


class Box(BaseModel):
    """Corners, in pixels of the upright original (Exif orientation applied); x to the right, y down."""

    x1: float
    y1: float
    x2: float
    y2: float


class Detection(BaseModel):
    """One object found."""

    label: str = Field(description="Name of the class.")
    class_id: int = Field(description="Its number, from 0.")
    score: float = Field(ge=0, le=1, description="How sure the model is of it.")
    box: Box


class ModelName(BaseModel):
    """Which model answered."""

    name: str
    version: str


class ImageSize(BaseModel):
    """Of the upright image."""

    width: int
    height: int


class DetectAnswer(BaseModel):
    """Detections come best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": {"name": "vehicles", "version": "1"},
                "image": {"width": 773, "height": 512},
                "detections": [
                    {
                        "label": "Car",
                        "class_id": 2,
                        "score": 0.9137264,
                        "box": {"x1": 10.218, "y1": 33.041, "x2": 210.533, "y2": 190.107},
                    }
                ],
                "timings_ms": {"receive": 0.4, "decode": 2.1, "preprocess": 0.5, "cache": 0.1, "queue": 0.3,
                               "infer": 44.0, "postprocess": 0.6, "serialise": 0.1},
                "request_id": "0b7e4f0c5a0e4d6c8f4f0a3d1f6f2b11",
            }
        }
    )  # fmt: skip

    model: ModelName
    image: ImageSize
    detections: list[Detection]
    timings_ms: dict[str, float] = Field(description="Milliseconds in each stage of the work.")
    request_id: str = Field(description="As in X-Request-ID.")


class ModelAnswer(BaseModel):
    """The passport of a model, and what the engine runs it with."""

    name: str
    version: str
    current: bool = Field(description="Whether requests that name no version get this one.")
    ready: bool
    reason: str | None = Field(description="Why it is not ready.")
    variant: str = Field(description="Of the network, such as tiny.")
    class_names: list[str] = Field(description="By number, from 0.")
    input_shapes: list[tuple[int, int]] = Field(description="Height and width; the first is the default.")
    max_candidates: int = Field(description="Most boxes that leave the graph, before any suppression.")
    score_floor: float = Field(description="What scores less does not leave the graph.")
    sha256: str = Field(description="Of model.onnx.")
    average_precision: dict[str, float] = Field(description="What was measured, by name of the measurement.")
    origin: dict[str, str] = Field(description="Where the weights come from.")
    engine: str | None = Field(description="What runs it; null where it is not loaded.")
    device: str | None = Field(description="What the engine runs on.")
    precision: str | None = Field(description="What the engine computes in.")
    max_batch_size: int | None = Field(description="Most images in one batch.")
    passport: dict[str, Any] | None = Field(
        description="What the engine file's own passport says of it: how it was made, measured and checked."
    )


class ModelsAnswer(BaseModel):
    """Everything that is served."""

    models: list[ModelAnswer]
    broken: dict[str, str] = Field(description="Models of the repository that cannot be served, and why.")


class VersionsAnswer(ModelAnswer):
    """The current version of a model, with all that are loaded and the numbers of those in the repository."""

    versions: list[ModelAnswer] = Field(description="All that are loaded.")
    available: list[str] = Field(description="All in the repository.")


class StatusAnswer(BaseModel):
    """What a probe is answered."""

    status: str


class ProblemAnswer(BaseModel):
    """RFC 9457 problem document."""

    type: str = Field(description="For programs; stable.")
    title: str
    status: int
    detail: str = Field(description="For people: what is wrong with this request.")
    instance: str = Field(description="The path.")
    request_id: str
    errors: list[dict[str, str]] = Field([], description="For 422: `pointer` to the option and `detail`, each finding.")


def list_detections(detections: Detections, spec: ModelSpec) -> list[dict[str, Any]]:
    """The detections as `to_json` takes them. Scores keep every digit of their float32, boxes have three decimals."""
    boxes = np.round(detections.boxes.astype(np.float64), 3).tolist()
    return [
        {
            "label": spec.class_names[class_id],
            "class_id": class_id,
            "score": score,
            "box": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        }
        for class_id, score, (x1, y1, x2, y2) in zip(
            detections.class_ids.tolist(), detections.scores, boxes, strict=True
        )
    ]


def to_json(document: Mapping[str, Any]) -> bytes:
    """JSON; a float32 is written with the fewest digits that still name it, where json would write twice as many."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
