"""What can be wrong with a data set: the kinds, how grave each is, and what training makes of it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """Errors are to be mended before training; warnings to be looked at; notes to be known."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that can be wrong. consequence: what training does about it, or why it matters."""

    severity: Severity
    consequence: str


KINDS: dict[str, Kind] = {
    "not understood": Kind(Severity.ERROR, "the set cannot be opened"),
    "id used twice": Kind(Severity.ERROR, "the set cannot be opened"),
    "class name used twice": Kind(Severity.ERROR, "the set cannot be opened"),
    "unlisted image or class": Kind(Severity.ERROR, "the set cannot be opened"),
    "missing image": Kind(Severity.ERROR, "the set cannot be opened"),
    "unreadable image": Kind(Severity.ERROR, "training stops where it meets the image"),
    "wrong size": Kind(Severity.ERROR, "every box of the image lies elsewhere; training stops where it meets it"),
    "classes differ": Kind(Severity.ERROR, "training refuses parts with different classes"),
    "class not trained": Kind(Severity.ERROR, "other parts have objects of a class that train lacks"),
    "box without area": Kind(Severity.ERROR, "the box is dropped"),
    "box reversed": Kind(Severity.ERROR, "the box is dropped: its corners are swapped"),
    "box not finite": Kind(Severity.ERROR, "the box is dropped"),
    "box outside": Kind(Severity.ERROR, "the box is dropped: it lies wholly outside its image"),
    "leak": Kind(Severity.ERROR, "the same file is in two parts: the scores are too good"),
    "near leak": Kind(Severity.WARNING, "almost the same picture is in two parts: the scores may be too good"),
    "box over the edge": Kind(Severity.WARNING, "the box is cut at the edge of its image"),
    "box twice": Kind(Severity.WARNING, "the object counts twice; the second detection of it scores as missed"),
    "two classes on one box": Kind(Severity.WARNING, "one of the two teaches the wrong class"),
    "image twice": Kind(Severity.WARNING, "the picture weighs double in its part"),
    "few objects of a class": Kind(Severity.WARNING, "too few to learn it from"),
    "box lost at this size": Kind(Severity.WARNING, "under 2 px at the training size: augmentation drops it"),
    "box of 20:1 or longer": Kind(Severity.NOTE, "augmentation drops it"),
    "image almost twice": Kind(Severity.NOTE, "neighbouring frames teach less than their number says"),
    "class without objects": Kind(Severity.NOTE, "the class cannot be learnt and has no score"),
    "gap in category ids": Kind(Severity.NOTE, "classes are numbered without the gap: class k is the k-th id"),
    "image without objects": Kind(Severity.NOTE, "it teaches what is background: be sure that it shows nothing"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    kind: a key of KINDS. box_xyxy: the box in question, in pixels of the image; other: the image that it equals.
    """

    kind: str
    part: str
    text: str
    image: Path | None = None
    box_xyxy: tuple[float, float, float, float] | None = None
    other: Path | None = None

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return KINDS[self.kind].severity
