"""Boxes onto the picture of a frame, as the service draws them itself."""

from service.camera.events import Answered
from service.camera.shot import Pixels
from service.client import Detections as Answers
from service.vision.detections import Detections
from service.vision.draw import draw
from service.vision.image import ImageError


def draw_answer(event: Answered) -> Pixels | None:
    """(H, W, 3) uint8 RGB; None where the picture had to be let go, or is one that only the service can decode."""
    try:
        pixels = event.shot.picture.pixels() if event.shot.picture is not None else None
    except ImageError:
        return None
    if pixels is None:
        return None
    found = event.detections
    return draw(pixels, Detections(found.boxes, found.scores, found.class_ids), _names(found))


def _names(found: Answers) -> list[str]:
    """The names of the classes that were found, each at its number."""
    names = [""] * (max(found.class_ids.tolist(), default=-1) + 1)
    for class_id, label in zip(found.class_ids.tolist(), found.labels, strict=True):
        names[class_id] = label
    return names
