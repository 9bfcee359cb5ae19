"""What is answered. Boxes are x1 y1 x2 y2 in pixels of the upright original, x to the right, y down; times are seconds.

N detections, best first, as a struct of arrays.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DropReason = Literal["replaced", "stale", "overloaded", "rate", "unsent", "unknown"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One object found."""

    label: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found in one picture.

    boxes: float32 (N, 4). scores: float32 (N,) in 0..1, falling. class_ids: int32 (N,). labels: N names.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Detection]:
        columns = (self.labels, self.class_ids.tolist(), self.scores.tolist(), self.boxes.tolist())
        for label, class_id, score, box in zip(*columns, strict=True):
            yield Detection(label, class_id, score, tuple(box))

    def to_supervision(self) -> Any:
        """As supervision.Detections, the names under `class_name`. Raises ImportError where it is not installed."""
        try:
            supervision: Any = import_module("supervision")
        except ImportError as exc:
            raise ImportError("to_supervision needs the package supervision: pip install supervision") from exc
        return supervision.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.class_ids,
            data={"class_name": np.array(self.labels, dtype=str)},
        )


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """Which model answered."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The answer to one picture. `cached`: its candidates were known already, and nothing was inferred."""

    detections: Detections
    image_hw: tuple[int, int]
    model: ModelVersion
    stage_seconds: Mapping[str, float]
    request_id: str
    cached: bool


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model of the service.

    `input_shapes` are height and width, the first the default. `average_precision` and `origin` are as its card says.
    """

    name: str
    version: str
    current: bool
    ready: bool
    reason: str | None
    variant: str
    class_names: tuple[str, ...]
    input_shapes: tuple[tuple[int, int], ...]
    average_precision: Mapping[str, float]
    origin: Mapping[str, str]
    engine: str | None
    device: str | None
    precision: str | None


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The answer to one frame. `age_s`: from its receipt by the service until the answer was ready."""

    sequence: int
    captured_at: float | None
    detections: Detections
    image_hw: tuple[int, int]
    age_s: float
    stage_seconds: Mapping[str, float]
    model: ModelVersion


@dataclass(frozen=True, slots=True)
class FramesDropped:
    """`count` frames, from `first` to `last`, that are not answered otherwise.

    `unsent` ones never left: a newer frame was there before the network took them. The other reasons are the
    service's: `replaced` by a newer frame, `stale`, `overloaded`, over the `rate`.
    """

    reason: DropReason
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """One frame could not be answered, such as one with a damaged picture; the stream goes on. `name` as in Problem."""

    sequence: int
    captured_at: float | None
    name: str
    detail: str


Outcome = FrameResult | FramesDropped | FrameFailed
