"""The answers as the wire shows them: pydantic models that document them, and the one function that writes detections.

The models are not run per request: the document is written straight from the arrays, once.
"""

import json

import numpy as np
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

    label: str
    class_id: int
    score: float = Field(ge=0, le=1)
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
                "timings_ms": {"receive": 0.4, "decode": 2.1, "preprocess": 0.5, "cache": 0.1, "queue": 0.3, "infer": 44.0,
                               "postprocess": 0.6, "serialise": 0.1},
                "request_id": "0b7e4f0c5a0e4d6c8f4f0a3d1f6f2b11",
            }
        }
    )  # fmt: skip

    model: ModelName
    image: ImageSize
    detections: list[Detection]
    timings_ms: dict[str, float]
    request_id: str


class ModelAnswer(BaseModel):
    """The passport of a model, and what the engine runs it with."""

    name: str
    version: str
    current: bool = Field(description="Whether requests that name no version get this one.")
    ready: bool
    reason: str | None = Field(description="Why it is not ready.")
    variant: str
    class_names: list[str]
    input_shapes: list[tuple[int, int]] = Field(description="Height and width; the first is the default.")
    max_candidates: int
    score_floor: float
    sha256: str
    average_precision: dict[str, float]
    origin: dict[str, str]
    engine: str | None = Field(description="What runs it; null where it is not loaded.")
    device: str | None
    precision: str | None = Field(description="What the engine computes in.")
    max_batch_size: int | None = Field(description="Most images in one batch.")


class ModelsAnswer(BaseModel):
    """Everything that is served."""

    models: list[ModelAnswer]
    broken: dict[str, str] = Field(description="Models of the repository that cannot be served, and why.")


class VersionsAnswer(ModelAnswer):
    """The current version of a model, with all that are loaded and the numbers of those in the repository."""

    versions: list[ModelAnswer]
    available: list[str]


class StatusAnswer(BaseModel):
    """What a probe is answered."""

    status: str


class ProblemAnswer(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[dict[str, str]] = Field([], description="For 422: `pointer` to the option and `detail`, each finding.")


def write_detections(detections: Detections, spec: ModelSpec) -> str:
    """The JSON array of detections. Scores keep every digit of their float32, boxes three decimals."""
    # A float32 printed as such has the fewest digits that still name it; through float64 it would have twice as many.
    scores = [float(str(score)) for score in detections.scores]
    boxes = np.round(detections.boxes.astype(np.float64), 3).tolist()
    rows = [
        {
            "label": spec.class_names[class_id],
            "class_id": class_id,
            "score": score,
            "box": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        }
        for class_id, score, (x1, y1, x2, y2) in zip(detections.class_ids.tolist(), scores, boxes, strict=True)
    ]
    return json.dumps(rows, separators=(",", ":"))
