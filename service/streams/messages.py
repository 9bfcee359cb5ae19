"""Between the messages of the wire and the service's own values: conversions, and nothing else.

What is unset in a message has the default that POST /v1/detect has.
"""

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from service.detector import Detected, Picture, Served
from service.detector.options import MAX_ITEMS, DetectOptions, check_options
from service.errors import BodyTooLarge, ImageError, MalformedRequest, ServiceError
from service.live import Answered, Closing, Delivery, Dropped, Every, Failed, Latest, Outcome
from service.live.frame import DropReason
from service.streams.status import code_of, name_of
from service.streams.wire import detection_pb2 as pb
from service.vision.detections import Detections
from service.vision.raw import PixelFormat, RawImage

FORMATS: dict[int, PixelFormat] = {pb.RawImage.RGB: "rgb", pb.RawImage.BGR: "bgr", pb.RawImage.GREY: "grey"}
REASONS: dict[DropReason, pb.Dropped.Reason] = {
    "replaced": pb.Dropped.REPLACED,
    "stale": pb.Dropped.STALE,
    "overloaded": pb.Dropped.OVERLOADED,
    "rate": pb.Dropped.RATE,
}
PLAIN = ("confidence", "iou", "max_detections")
DEFAULT_MAX_AGE_S = 1.0
# As many as the service gives.
ANY_CREDITS = 2**31 - 1


class Unreadable(RawImage):
    """In place of a picture that a message does not have. Asked for its pixels, it says why."""

    __slots__ = ("_error",)
    _error: ServiceError | ImageError

    def __init__(self, error: ServiceError | ImageError) -> None:
        super().__init__(b"", 0, 0, "grey")
        object.__setattr__(self, "_error", error)

    def to_rgb(self, *, max_pixels: int) -> NDArray[np.uint8]:
        """Raises the error."""
        raise self._error


def read_picture(image: pb.Image, *, max_bytes: int) -> Picture:
    """Raises MalformedRequest where there is none, or pixels of no known format; BodyTooLarge."""
    content = image.WhichOneof("content")
    if content is None:
        raise MalformedRequest("the message has no image")
    data = image.encoded if content == "encoded" else image.raw.data
    if len(data) > max_bytes:
        raise BodyTooLarge(f"the image has {len(data):,} bytes; at most {max_bytes:,} are taken")
    if content == "encoded":
        return data
    pixel_format = FORMATS.get(image.raw.format)
    if pixel_format is None:
        raise MalformedRequest("the raw image does not say which of RGB, BGR and GREY it is")
    return RawImage(data, image.raw.height, image.raw.width, pixel_format)


def read_options(options: pb.Options) -> DetectOptions:
    """Raises InvalidOption with a finding for each option that is out of range."""
    given: dict[str, object] = {name: getattr(options, name) for name in PLAIN if options.HasField(name)}
    given |= {"class_agnostic": options.class_agnostic, "multi_label": options.multi_label}
    given |= {name: getattr(options, name) for name in ("model", "version") if getattr(options, name)}
    # One more than are taken is enough to be told so.
    given["classes"] = tuple(options.classes[: MAX_ITEMS + 1])
    pairs = islice(options.class_confidence.items(), MAX_ITEMS + 1)
    given["class_confidence"] = tuple(f"{name}:{confidence!r}" for name, confidence in pairs)
    return check_options(given)


def read_delivery(opening: pb.Open) -> Delivery:
    """As it is wished for, whatever that is."""
    if opening.WhichOneof("delivery") == "every":
        return Every(opening.every.credits if opening.every.HasField("credits") else ANY_CREDITS)
    return Latest(opening.latest.max_age if opening.latest.HasField("max_age") else DEFAULT_MAX_AGE_S)


def write_answer(detected: Detected, served: Served, request_id: str) -> pb.DetectResponse:
    """The answer to one picture."""
    height, width = detected.image_hw
    return pb.DetectResponse(
        detections=_detections(detected.detections, served),
        width=width,
        height=height,
        model=_model(served),
        stages=pb.Stages(**detected.stage_seconds),
        request_id=request_id,
    )


def write_opened(served: Served, delivery: Delivery) -> pb.StreamResponse:
    """The first answer of a stream: what is in force."""
    opened = pb.Opened(model=_model(served), class_names=served.spec.class_names)
    if isinstance(delivery, Every):
        opened.credits = delivery.credits
    else:
        opened.max_age = delivery.max_age_s
    return pb.StreamResponse(opened=opened)


def write_outcome(outcome: Outcome | Closing) -> pb.StreamResponse:
    """What became of a frame or of several, or the news that the stream is closing."""
    match outcome:
        case Answered():
            return pb.StreamResponse(result=_result(outcome))
        case Dropped(reason, first, last, count):
            return pb.StreamResponse(dropped=pb.Dropped(reason=REASONS[reason], first=first, last=last, count=count))
        case Failed(frame, error):
            failed = pb.FrameError(
                sequence=frame.sequence,
                captured_at=frame.captured_at,
                code=code_of(error).value[0],
                message=str(error),
                kind=name_of(error),
            )
            return pb.StreamResponse(error=failed)
        case Closing(retry_after_s):
            return pb.StreamResponse(closing=pb.Closing(retry_after=retry_after_s))


def _result(answered: Answered) -> pb.Result:
    height, width = answered.detected.image_hw
    return pb.Result(
        sequence=answered.frame.sequence,
        captured_at=answered.frame.captured_at,
        detections=_detections(answered.detected.detections, answered.served),
        width=width,
        height=height,
        age=answered.age_s,
        stages=pb.Stages(**answered.detected.stage_seconds),
        model=_model(answered.served),
    )


def _detections(detections: Detections, served: Served) -> pb.Detections:
    class_ids = detections.class_ids.tolist()
    names = served.spec.class_names
    return pb.Detections(
        boxes=detections.boxes.ravel().tolist(),
        scores=detections.scores.tolist(),
        class_ids=class_ids,
        labels=[names[class_id] for class_id in class_ids],
    )


def _model(served: Served) -> pb.ModelVersion:
    return pb.ModelVersion(name=served.spec.name, version=served.spec.version)
