"""JSON lines: one for each event, with the names of the service's own answers. A line is there once it has happened."""

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from service.camera.events import Answered, Dropped, Event, Failed, Notice
from service.camera.shot import Shot


class JsonLines:
    """`path` None is standard output. Raises OSError."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO = sys.stdout if path is None else path.open("w", encoding="utf-8")

    def write(self, event: Event) -> None:
        """One line, in one piece, at once."""
        self._file.write(json.dumps(document(event), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Standard output stays open: it is everybody's."""
        if self._path is not None:
            self._file.close()


def document(event: Event) -> dict[str, Any]:
    """What the line says; `type` tells which of them it is."""
    match event:
        case Answered():
            return {
                "type": "result",
                **_frame(event.shot),
                "age_s": round(event.age_s, 6),
                "delay_s": round(event.delay_s, 6),
                "model": {"name": event.model.name, "version": event.model.version},
                "image": {"width": event.image_hw[1], "height": event.image_hw[0]},
                "detections": _detections(event),
            }
        case Dropped():
            return {
                "type": "dropped",
                "reason": event.reason,
                "first": event.first,
                "last": event.last,
                "count": event.count,
            }
        case Failed():
            return {"type": "error", **_frame(event.shot), "name": event.name, "detail": event.detail}
        case Notice():
            return {"type": event.of, "state": event.state, "detail": event.detail, "retry_s": event.retry_s}


def _frame(shot: Shot) -> dict[str, Any]:
    return {
        "sequence": shot.sequence,
        "frame": shot.name,
        "time_s": round(shot.time_s, 6),
        "captured_at": shot.captured_at,
    }


def _detections(event: Answered) -> list[dict[str, Any]]:
    sides = ("x1", "y1", "x2", "y2")
    return [
        {
            "label": found.label,
            "class_id": found.class_id,
            "score": found.score,
            "box": {side: round(value, 3) for side, value in zip(sides, found.box, strict=True)},
        }
        for found in event.detections
    ]
