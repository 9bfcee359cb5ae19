"""What is wanted of a picture, and how both transports say it. What is None has the service's default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from service.streams.wire import detection_pb2 as pb


class DetectOptions(TypedDict, total=False):
    """The keyword arguments that every detection takes.

    confidence: detections below this score are left out, 0.001..1.
    iou: of two boxes that overlap more than this, the better stays, 0..1.
    classes: names or ids of the classes wanted; empty: all.
    class_agnostic: boxes of different classes suppress each other.
    multi_label: one box may be answered with several classes.
    class_confidence: a confidence of its own for a class, by name or id.
    """

    model: str | None
    version: str | None
    confidence: float | None
    iou: float | None
    classes: Sequence[str | int]
    max_detections: int | None
    class_agnostic: bool
    multi_label: bool
    class_confidence: Mapping[str | int, float] | None


@dataclass(frozen=True, slots=True)
class Options:
    """DetectOptions as a value. An argument that is none of them is a TypeError."""

    model: str | None = None
    version: str | None = None
    confidence: float | None = None
    iou: float | None = None
    classes: Sequence[str | int] = ()
    max_detections: int | None = None
    class_agnostic: bool = False
    multi_label: bool = False
    class_confidence: Mapping[str | int, float] | None = field(default=None)

    def to_query(self) -> list[tuple[str, str]]:
        """Query parameters of POST /v1/detect."""
        single = {
            "model": self.model,
            "version": self.version,
            "confidence": self.confidence,
            "iou": self.iou,
            "max_detections": self.max_detections,
            "class_agnostic": "true" if self.class_agnostic else None,
            "multi_label": "true" if self.multi_label else None,
        }
        pairs = [(name, str(value)) for name, value in single.items() if value is not None]
        pairs += [("classes", name) for name in self._names()]
        pairs += [("class_confidence", f"{name}:{value}") for name, value in (self.class_confidence or {}).items()]
        return pairs

    def to_message(self) -> pb.Options:
        """The same as gRPC takes it."""
        return pb.Options(
            model=self.model or "",
            version=self.version or "",
            confidence=self.confidence,
            iou=self.iou,
            classes=self._names(),
            max_detections=self.max_detections,
            class_agnostic=self.class_agnostic,
            multi_label=self.multi_label,
            class_confidence={str(name): value for name, value in (self.class_confidence or {}).items()},
        )

    def _names(self) -> list[str]:
        # A lone string is a sequence of letters, which nobody means.
        names = (self.classes,) if isinstance(self.classes, str) else self.classes
        return [str(name) for name in names]
