"""What became of frames, and of the two ends that a run hangs between. Boxes are in pixels of the source's picture."""

from dataclasses import dataclass
from typing import Literal

from service.camera.shot import Shot
from service.client.results import Detections, ModelVersion


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """`age_s`: from the service's receipt to its answer; `delay_s`: from when the frame was read here to its answer."""

    shot: Shot
    detections: Detections
    image_hw: tuple[int, int]
    age_s: float
    delay_s: float
    model: ModelVersion


@dataclass(frozen=True, slots=True)
class Dropped:
    """`count` frames, from `first` to `last`, without an answer.

    reason: `replaced`, `stale`, `overloaded` and `rate` are the service's; `unsent` ones were replaced by a newer frame
    before they left; `lost` ones were on the way when the connection broke.
    """

    reason: str
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Failed:
    """The service, or the picture itself, made an answer impossible; the run goes on."""

    shot: Shot
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Notice:
    """The source or the service was found or lost. `detail` holds no password; `retry_s`: when the next try is."""

    of: Literal["source", "service"]
    state: Literal["open", "lost"]
    detail: str
    retry_s: float | None = None


Event = Answered | Dropped | Failed | Notice
