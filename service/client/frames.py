"""Frames and what becomes of them, to and from the messages of DetectStream."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.client.options import Options
from service.client.picture import Pixels, check_pixels, to_message
from service.client.results import Detections, DropReason, FrameFailed, FrameResult, FramesDropped, ModelVersion
from service.streams.wire import detection_pb2 as pb

Delivery = Literal["latest", "every"]

REASONS: dict[int, DropReason] = {
    pb.Dropped.REPLACED: "replaced",
    pb.Dropped.STALE: "stale",
    pb.Dropped.OVERLOADED: "overloaded",
    pb.Dropped.RATE: "rate",
}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a stream: a file's bytes, or (H, W, 3) uint8 RGB, which must not change until it is sent.

    `sequence` must rise from frame to frame; None is one more than the last. `captured_at`, in seconds since 1970 by
    the caller's clock, comes back with the answer.
    """

    picture: bytes | Pixels
    sequence: int | None = None
    captured_at: float | None = None

    @classmethod
    def of(cls, picture: "bytes | Pixels | Frame") -> "Frame":
        """The picture as a frame. Raises ValueError for an array of another shape."""
        frame = picture if isinstance(picture, Frame) else cls(picture)
        if isinstance(frame.picture, np.ndarray):
            check_pixels(frame.picture)
        return frame


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a stream. `max_age_s` goes with `latest`, `credits` with `every`; None is the service's choice."""

    options: Options
    delivery: Delivery = "latest"
    max_age_s: float | None = None
    credits: int | None = None
    name: str = ""
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        if self.delivery not in ("latest", "every"):
            raise ValueError(f"delivery is 'latest' or 'every', not {self.delivery!r}")

    def to_message(self) -> pb.StreamRequest:
        """The first message."""
        opening = pb.Open(options=self.options.to_message(), name=self.name)
        if self.delivery == "every":
            opening.every.CopyFrom(pb.Every(credits=self.credits))
        else:
            opening.latest.CopyFrom(pb.Latest(max_age=self.max_age_s))
        return pb.StreamRequest(open=opening)

    def frame_message(self, frame: Frame) -> pb.StreamRequest:
        """A frame that has its number. Copies its pixels, or compresses them."""
        image = to_message(frame.picture, jpeg_quality=self.jpeg_quality)
        return pb.StreamRequest(frame=pb.Frame(sequence=frame.sequence, captured_at=frame.captured_at, image=image))


def read_result(result: pb.Result) -> FrameResult:
    """The answer to a frame."""
    found = result.detections
    return FrameResult(
        sequence=result.sequence,
        captured_at=result.captured_at if result.HasField("captured_at") else None,
        detections=Detections(
            boxes=np.array(found.boxes, np.float32).reshape(-1, 4),
            scores=np.array(found.scores, np.float32),
            class_ids=np.array(found.class_ids, np.int32),
            labels=tuple(found.labels),
        ),
        image_hw=(result.height, result.width),
        age_s=result.age,
        stage_seconds={field.name: value for field, value in result.stages.ListFields()},
        model=ModelVersion(result.model.name, result.model.version),
    )


def read_dropped(dropped: pb.Dropped) -> FramesDropped:
    """Frames that the service dropped."""
    reason = REASONS.get(dropped.reason, "unknown")
    return FramesDropped(reason, dropped.first, dropped.last, dropped.count)


def read_failed(error: pb.FrameError) -> FrameFailed:
    """A frame that could not be answered."""
    captured_at = error.captured_at if error.HasField("captured_at") else None
    return FrameFailed(error.sequence, captured_at, error.kind, error.message)
