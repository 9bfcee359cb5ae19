"""What a model is expected to see: reference.json beside its graph, against which a dashboard tells drift.

    {"data": "val.json", "images": 125, "objects": 231, "score": 0.52, "size": 0.41, "classes": {"Car": 0.4, …}}

deploy/monitoring/reference.py writes it. It is for the metrics alone: nothing is refused or answered otherwise for it,
and a model without one is served all the same.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

NAME = "reference.json"


@dataclass(frozen=True, slots=True)
class Reference:
    """`classes`: each one's part of the objects that score 0.25 or more. `score`, `size`: their means.

    A size is the root of the box's part of the picture, 0 to 1.
    """

    classes: dict[str, float]
    score: float
    size: float


def read_reference(onnx: Path) -> Reference | None:
    """What lies beside a graph; None where nothing does, or nothing that can be read, which the log tells."""
    path = onnx.with_name(NAME)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        classes = {str(name): float(part) for name, part in told["classes"].items()}
        return Reference(classes, float(told["score"]), float(told["size"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as exc:
        logger.warning("%s/%s/%s cannot be read: %s", path.parts[-3], path.parts[-2], NAME, exc)
        return None
