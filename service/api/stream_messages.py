"""What is said over the WebSocket of a stream: what the client's messages may hold, and how ours are written.

docs/websocket.md is the reference. Pictures are binary and not looked into here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.api.answer import list_detections
from service.api.problems import TYPE_PREFIX, Problem, describe
from service.detector import Picture, Served
from service.detector.options import MAX_FINDINGS, MAX_ITEMS, DetectOptions, check_options
from service.errors import Finding, InvalidOption, MalformedRequest
from service.live import Answered, Closing, Delivery, Dropped, Every, Failed, Latest, Outcome
from service.vision.raw import PixelFormat, RawImage

DEFAULT_MAX_AGE_MS = 1000.0
# As many as the service gives.
ANY_CREDITS = 2**31 - 1
# What a page's numbers hold exactly.
MOST_SEQUENCE = 2**53 - 1


class NotJson(MalformedRequest):
    """A text message that is no JSON object."""


class _Message(BaseModel):
    # JSON has types: "7" is no number, and true is none either.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Open(_Message):
    """The first one. `options` as of POST /v1/detect; `max_age_ms` is for `latest`, `credits` for `every`."""

    type: Literal["open"]
    options: dict[str, Any] = Field(default_factory=dict, description="As of POST /v1/detect.")
    name: Annotated[str, Field(description="What the log calls the stream: up to 100 printable characters.")] = ""
    delivery: Annotated[Literal["latest", "every"], Field(description="The newest frame, or every one.")] = "latest"
    max_age_ms: Annotated[float | None, Field(gt=0, description="From receipt to answer; default 1000.")] = None
    credits: Annotated[int | None, Field(ge=1, description="Most frames unanswered; default the service's.")] = None

    def detect_options(self) -> DetectOptions:
        """Raises InvalidOption with each finding."""
        return check_options(_flat(self.options), strict=True)

    def wanted_delivery(self) -> Delivery:
        """With the defaults for what is not given."""
        if self.delivery == "every":
            return Every(self.credits or ANY_CREDITS)
        return Latest((self.max_age_ms or DEFAULT_MAX_AGE_MS) / 1000)


class FrameHead(_Message):
    """Of the picture in the next message. A raw picture has all three of its layout, a file none."""

    type: Literal["frame"]
    sequence: Annotated[int | None, Field(ge=0, le=MOST_SEQUENCE, description="Rises; default one up.")] = None
    captured_at: Annotated[float | None, Field(description="Seconds since 1970, which are only echoed.")] = None
    format: Annotated[PixelFormat | None, Field(description="Of bare pixels: uint8, rows from the top.")] = None
    width: Annotated[int | None, Field(description="Of bare pixels.")] = None
    height: Annotated[int | None, Field(description="Of bare pixels.")] = None

    def picture(self, data: bytes) -> Picture:
        """The picture that `data` is."""
        if self.format is None or self.width is None or self.height is None:
            return data
        return RawImage(data, self.height, self.width, self.format)


class Options(_Message):
    """For the frames that follow. What is not in it has its default again; the model stays."""

    type: Literal["options"]
    options: dict[str, Any] = Field(default_factory=dict, description="As of POST /v1/detect.")

    def detect_options(self, opening: Open) -> DetectOptions:
        """Raises InvalidOption with each finding, and where it names another model than `opening`."""
        for name in ("model", "version"):
            if self.options.get(name, opening.options.get(name)) != opening.options.get(name):
                raise InvalidOption(Finding(f"/options/{name}", "is chosen by the open message; open another stream"))
        kept = {name: opening.options[name] for name in ("model", "version") if name in opening.options}
        return check_options(_flat(self.options | kept), strict=True)


class End(_Message):
    """No more frames come."""

    type: Literal["end"]


Message = Open | FrameHead | Options | End
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def read_message(text: str) -> Message:
    """Raises NotJson, MalformedRequest where it is of no known type, InvalidOption for what is wrong in it."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise NotJson(f"the message is not JSON: {exc}") from None
    if not isinstance(document, dict):
        raise NotJson("the message is not a JSON object")
    if document.get("type") not in ("open", "frame", "options", "end"):
        raise MalformedRequest("a message of a client has the type open, frame, options or end")
    try:
        message = _MESSAGES.validate_python(document)
    except ValidationError as exc:
        raise InvalidOption(*map(_finding, exc.errors()[:MAX_FINDINGS])) from None
    if (
        isinstance(message, FrameHead)
        and len({part is None for part in (message.format, message.width, message.height)}) > 1
    ):
        raise MalformedRequest("a raw picture needs format, width and height, all three")
    return message


def write_opened(served: Served, delivery: Delivery) -> dict[str, Any]:
    """The answer to `open`: what is in force."""
    return {
        "type": "opened",
        "model": _model(served),
        "class_names": list(served.spec.class_names),
        "delivery": "latest" if isinstance(delivery, Latest) else "every",
        "max_age_ms": delivery.max_age_s * 1000 if isinstance(delivery, Latest) else None,
        "credits": delivery.credits if isinstance(delivery, Every) else None,
    }


def write_outcome(outcome: Outcome | Closing) -> dict[str, Any]:
    """What became of a frame or of several, or the news that no more are read."""
    match outcome:
        case Answered():
            return _result(outcome)
        case Dropped(reason, first, last, count):
            return {"type": "dropped", "reason": reason, "first": first, "last": last, "count": count}
        case Failed(frame, error):
            return {"type": "error", "sequence": frame.sequence, "problem": write_problem(describe(error))}
        case Closing(retry_after_s):
            return {"type": "closing", "retry_after_s": retry_after_s}


def write_problem(problem: Problem) -> dict[str, Any]:
    """What a problem document says, without what is the connection's."""
    return {
        "type": TYPE_PREFIX + problem.name,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    }


def _result(answered: Answered) -> dict[str, Any]:
    height, width = answered.detected.image_hw
    return {
        "type": "result",
        "sequence": answered.frame.sequence,
        "captured_at": answered.frame.captured_at,
        "model": _model(answered.served),
        "image": {"width": width, "height": height},
        "detections": list_detections(answered.detected.detections, answered.served.spec),
        "age_ms": round(answered.age_s * 1000, 3),
        "timings_ms": {stage: round(seconds * 1000, 3) for stage, seconds in answered.detected.stage_seconds.items()},
    }


def _model(served: Served) -> dict[str, str]:
    return {"name": served.spec.name, "version": served.spec.version}


def _flat(options: Mapping[str, Any]) -> dict[str, object]:
    """As check_options takes them: classes as text, `{"Car": 0.4}` as `Car:0.4`."""
    flat: dict[str, object] = dict(options)
    classes, confidences = options.get("classes"), options.get("class_confidence")
    if isinstance(classes, list):
        # One more than are taken is enough to be told so.
        flat["classes"] = tuple(
            str(item) if isinstance(item, int) and not isinstance(item, bool) else item
            for item in classes[: MAX_ITEMS + 1]
        )
    if "class_confidence" in options:
        if not isinstance(confidences, dict):
            raise InvalidOption(Finding("/class_confidence", 'must be an object, such as {"Car": 0.4}'))
        pairs = list(confidences.items())[: MAX_ITEMS + 1]
        flat["class_confidence"] = tuple(f"{name}:{value!r}" for name, value in pairs)
    return flat


def _finding(error: Mapping[str, Any]) -> Finding:
    # What comes first in the place is the type that was recognised.
    names = [str(part).replace("~", "~0").replace("/", "~1") for part in error["loc"][1:]]
    return Finding("/" + "/".join(names), str(error["msg"]))
