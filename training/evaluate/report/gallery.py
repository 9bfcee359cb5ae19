"""Images with what was there (dashed) and what was found, as SVG over the picture: sharp, and each box says what it is.

Green was found, amber was missed, red is a false detection; a box whose object is in a crowd counts as neither and is
not drawn.
"""

import base64
import html
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import DatasetImage, read_pixels
from training.evaluate.examine import Examination

_SIDE = 640  # longest side of a picture in the page
_QUALITY = 80


def gallery(examination: Examination, places: NDArray[np.int64], prefix: str) -> str:
    """Figures of the images at these places of the set; ``prefix`` begins their names in the page."""
    figures = (_figure(examination, place, f"{prefix}{number}") for number, place in enumerate(places.tolist(), 1))
    return f'<div class="gallery">{"".join(figures)}</div>'


def switches() -> str:
    """What the colours mean, and what can be hidden."""
    boxes = (
        ("show-truth", '<span class="key truth"></span>annotated (<span class="key missed"></span>missed)'),
        ("show-found", '<span class="key found"></span>found, <span class="key false"></span>false'),
        ("show-labels", "labels"),
    )
    labels = (f'<label><input type="checkbox" id="{name}" checked>{text}</label>' for name, text in boxes)
    return f'<div class="switches">{"".join(labels)}</div>'


def _figure(examination: Examination, place: int, name: str) -> str:
    errors, image = examination.errors, examination.dataset.images[place]
    numbers = [
        f"<b>{int(errors.missed_count[place])}</b> missed",
        f"<b>{int(errors.false_count[place])}</b> false",
        f"<b>{int(errors.found_count[place])}</b> found",
    ]
    if errors.cost[place] >= 0.00005:  # what would not be 0.00
        numbers.append(f"costs <b>{100 * errors.cost[place]:.2f}</b> AP50")
    caption = f"{html.escape(image.path.name)}: {', '.join(numbers)}"
    boxes = _Layer(examination, place).draw()
    svg = f'<svg viewBox="0 0 {image.width} {image.height}">{_picture(image)}{boxes}</svg>'
    close = '<a class="close" href="#gallery" aria-label="close">×</a>'
    return f'<figure id="{name}"><a href="#{name}">{svg}</a>{close}<figcaption>{caption}</figcaption></figure>'


def _picture(image: DatasetImage) -> str:
    pixels = read_pixels(image)
    ratio = min(_SIDE / max(pixels.shape[:2]), 1.0)
    size = max(round(pixels.shape[1] * ratio), 1), max(round(pixels.shape[0] * ratio), 1)
    small = pixels if ratio == 1 else np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, jpeg = cv2.imencode(".jpg", small[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    data = base64.b64encode(jpeg.tobytes()).decode()
    return f'<image href="data:image/jpeg;base64,{data}" width="{image.width}" height="{image.height}"/>'


class _Layer:
    """The boxes of one image. A label that would cover another is left to its box's title."""

    def __init__(self, examination: Examination, place: int) -> None:
        self._examination, self._place = examination, place
        image = examination.dataset.images[place]
        self._size_wh = image.width, image.height
        self._letter = max(self._size_wh) / 34
        self._labels: list[tuple[float, float, float, float]] = []

    def draw(self) -> str:
        """What was found below, what was there above it; the labels of errors have the first choice of room."""
        truth, found = self._truth(), self._found()
        labels = {}
        for number, box in sorted(
            enumerate([*truth, *found]), key=lambda item: item[1].kind not in ("missed", "false")
        ):
            labels[number] = self._label(box) if box.text else ""
        return "".join(
            f'<g class="{name}">{"".join(box.rect() + labels[start + at] for at, box in enumerate(boxes))}</g>'
            for name, start, boxes in (("of-found", len(truth), found), ("of-truth", 0, truth))
        )

    def _truth(self) -> list["_Box"]:
        matches, names = self._examination.matches, self._examination.dataset.class_names
        boxes = []
        for row in np.flatnonzero(matches.object_image == self._place).tolist():
            missed, name = bool(self._examination.errors.missed[row]), names[int(matches.object_classes[row])]
            kind, title = ("missed", f"{name}, missed") if missed else ("truth", f"{name}, found")
            boxes.append(_Box(matches.object_boxes_xyxy[row].tolist(), kind, title, name if missed else ""))
        return boxes

    def _found(self) -> list["_Box"]:
        matches, names = self._examination.matches, self._examination.dataset.class_names
        rows = np.flatnonzero((matches.image == self._place) & self._examination.errors.shown & ~matches.ignored[:, 0])
        boxes = []
        for row in rows[(-matches.scores[rows]).argsort()].tolist():
            text = f"{names[int(matches.classes[row])]} {matches.scores[row]:.2f}"
            kind, title = ("found", text) if matches.correct[row, 0] else ("false", f"{text}, false")
            boxes.append(_Box(matches.boxes_xyxy[row].tolist(), kind, title, text))
        return boxes

    def _label(self, box: "_Box") -> str:
        """Above the box; of missed objects below, so that both can be read."""
        (x1, y1, _, y2), letter, (width, height) = box.xyxy, self._letter, self._size_wh
        y = min(y2 + letter, height - 2) if box.kind == "missed" else max(y1 - letter / 3, letter)
        wide = 0.58 * letter * len(box.text)
        left = min(x1, max(width - wide, 0)) if x1 + wide > width else x1
        room = left, y - letter, left + wide, y
        if any(_cover(room, other) for other in self._labels):
            return ""
        self._labels.append(room)
        style = f"font-size:{letter:.1f}px;stroke-width:{letter / 5:.1f}px"
        return f'<text class="t{box.kind}" x="{left:.1f}" y="{y:.1f}" style="{style}">{html.escape(box.text)}</text>'


@dataclass(frozen=True, slots=True)
class _Box:
    xyxy: list[float]
    kind: str
    title: str
    text: str

    def rect(self) -> str:
        x1, y1, x2, y2 = self.xyxy
        shape = f'x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
        return f'<rect class="{self.kind}" {shape}><title>{html.escape(self.title)}</title></rect>'


def _cover(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
