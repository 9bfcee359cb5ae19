"""How many objects of which class and size a part has, and what the parts have that others lack."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.inspection.boxes import sides_at
from training.data.inspection.finding import Finding
from training.data.inspection.objects import Objects

_FEW = 20  # objects of a class in train
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, slots=True)
class Balance:
    """Counts of one part, crowds apart.

    objects, images_with: by class, how many there are and in how many images. sides_px: at the percentiles, the square
    root of a box's area at the training size; under_8: the share of boxes with less than that of a stride-8 cell.
    """

    images: int
    empty: int
    crowds: int
    objects: dict[str, int]
    images_with: dict[str, int]
    sides_px: tuple[float, ...]
    under_8: float


def count(objects: Objects, image_size: int) -> Balance:
    """Count a part."""
    kept = ~objects.crowd
    kind, image = objects.kind[kept], objects.image[kept]
    classes = len(objects.class_names)
    per_class = np.bincount(kind, minlength=classes)
    pairs = np.unique(np.stack((image, kind)), axis=1)
    sides = mean_sides(objects, image_size)
    return Balance(
        images=len(objects.paths),
        empty=len(objects.paths) - len(np.unique(image)),
        crowds=int(objects.crowd.sum()),
        objects=dict(zip(objects.class_names, per_class.tolist(), strict=True)),
        images_with=dict(zip(objects.class_names, np.bincount(pairs[1], minlength=classes).tolist(), strict=True)),
        sides_px=tuple(np.percentile(sides, PERCENTILES).round(2).tolist()) if len(sides) else (),
        under_8=float((sides < 8).mean()) if len(sides) else 0.0,
    )


def mean_sides(objects: Objects, image_size: int) -> NDArray[np.float64]:
    """Return the square root of each box's area at the training size, (n,) pixels, crowds apart."""
    return np.asarray(np.sqrt(sides_at(objects, image_size)[~objects.crowd].prod(axis=1)), np.float64)


def find_imbalance(objects: Objects, balance: Balance) -> list[Finding]:
    """Return what one part lacks: objects in an image, objects of a class."""
    part = objects.part
    busy = np.zeros(len(objects.paths), np.bool_)
    busy[objects.image] = True
    findings = [
        Finding("image without objects", part, "no object", objects.paths[index]) for index in np.flatnonzero(~busy)
    ]
    for name, number in balance.objects.items():
        if number == 0:
            findings.append(Finding("class without objects", part, name))
        elif number < _FEW and part == "train":
            text = f"{name}: {number} objects in {balance.images_with[name]} images"
            findings.append(Finding("few objects of a class", part, text))
    return findings


def compare(parts: dict[str, tuple[Objects, Balance]]) -> list[Finding]:
    """Return where the classes of the parts differ, against train or else against the first."""
    reference = "train" if "train" in parts else next(iter(parts), "")
    findings = []
    for name, (objects, balance) in parts.items():
        expected, trained = parts[reference]
        if objects.class_names != expected.class_names:
            odd = sorted(set(objects.class_names) ^ set(expected.class_names)) or ["their order"]
            findings.append(Finding("classes differ", name, f"from {reference}: {', '.join(odd)}"))
        if reference == "train":
            for label, number in balance.objects.items():
                if number and not trained.objects.get(label):
                    findings.append(Finding("class not trained", name, f"{label}: {number} objects, none in train"))
    return findings
