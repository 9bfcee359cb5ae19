"""The WebSocket part of docs/reference/api.md: what clients may say, what they are told, and with what it ends."""

from collections import defaultdict
from collections.abc import Iterator

from markup import code, plain, table
from problems import sample
from pydantic import BaseModel
from schemas import example, fields

from service.api.problems import describe
from service.api.stream_conversation import DONE, INTERNAL, INVALID_DATA, close_code
from service.api.stream_messages import End, FrameHead, NotJson, Open, Options, write_outcome
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    Draining,
    Forbidden,
    InvalidOption,
    MalformedRequest,
    ModelNotReady,
    Overloaded,
    StreamTooSlow,
    Unauthenticated,
    UndecodableImage,
    UnknownModel,
)
from service.live import Closing, Dropped, Failed, Frame

CLIENTS: dict[type[BaseModel], dict[str, object]] = {
    Open: {
        "type": "open",
        "options": {"model": "vehicles", "confidence": 0.4, "classes": ["Car", 2], "class_confidence": {"Bus": 0.6}},
        "name": "door",
        "delivery": "latest",
        "max_age_ms": 500,
    },
    FrameHead: {
        "type": "frame", "sequence": 7, "captured_at": 1700000000.1, "format": "rgb", "width": 640, "height": 480,
    },
    Options: {"type": "options", "options": {"confidence": 0.5}},
    End: {"type": "end"},
}  # fmt: skip
OPENED = {
    "type": "opened",
    "model": {"name": "vehicles", "version": "1"},
    "class_names": ["Ambulance", "Bus", "Car"],
    "delivery": "latest",
    "max_age_ms": 500.0,
    "credits": None,
}
# What may end a stream once it is open; what is wrong with one frame is said of that, and the stream goes on.
ENDING = (
    Draining, NotJson, MalformedRequest, InvalidOption, UnknownModel, Unauthenticated, Forbidden, BodyTooSlow,
    StreamTooSlow, BodyTooLarge, Overloaded, ModelNotReady,
)  # fmt: skip
RESULT = {
    "type": "result",
    "sequence": 0,
    "captured_at": None,
    "model": {"name": "vehicles", "version": "1"},
    "image": {"width": 773, "height": 512},
    "detections": [
        {"label": "Car", "class_id": 2, "score": 0.9137264, "box": {"x1": 10.2, "y1": 33.0, "x2": 210.5, "y2": 190.1}}
    ],
    "age_ms": 31.2,
    "timings_ms": {"decode": 2.1, "preprocess": 0.5, "cache": 0.1, "queue": 0.3, "infer": 27.6, "postprocess": 0.6},
}


def from_clients() -> str:
    """Each message of a client: what it is for, its fields, and one of them."""
    return "".join(_client(kind, document) for kind, document in CLIENTS.items())


def from_service() -> str:
    """One of each message of the service."""
    told = [OPENED, RESULT, *map(write_outcome, _outcomes())]
    return "".join(f"#### From the service: {document['type']}\n\n{example(document)}" for document in told)


def ends() -> str:
    """Codes of the close frame, and the problems that it may end with."""
    names = defaultdict(list, {DONE: ["after `end`"], INTERNAL: ["`internal`, or 40 s without a sign of life"]})
    for kind in ENDING:
        error = sample(kind)
        names[close_code(error)].append(code(describe(error).name))  # type: ignore[arg-type]
    names[INVALID_DATA].append("for a text that is no JSON object")
    return table(("code", "why"), ((str(number), ", ".join(names[number])) for number in sorted(names)))


def _client(kind: type[BaseModel], document: dict[str, object]) -> str:
    schema = kind.model_json_schema()
    about = plain(schema["description"])
    return (
        f"#### From the client: {document['type']}\n\n{about}\n\n{fields(schema, of_request=True)}{example(document)}"
    )


def _outcomes() -> Iterator[Dropped | Failed | Closing]:
    yield Dropped("replaced", 1, 4, 4)
    yield Failed(Frame(5, b"", 0.0), UndecodableImage("the JPEG ends too soon"))
    yield Closing(1.0)
