"""Precision, recall and F1 of each class against the confidence that is asked for, at IoU 0.5."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluate.matches import Matches

STEPS = 1000
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Of C classes, at 1,001 confidences from 0 to 1; NaN where a class has no object.

    confidences: (1001,). precision: (C, 1001), of the detections above that confidence, NaN where there are none.
    recall, f1: (C, 1001). interpolated: (C, 101), COCO's precision at the recalls 0, 0.01 ... 1.
    """

    confidences: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    interpolated: NDArray[np.float64]

    def best_confidence(self, index: int) -> float:
        """The confidence at which a class has its best F1, the middle where several are as good; NaN if none is."""
        return _best(self.f1[index], self.confidences)

    def best_common_confidence(self) -> float:
        """The one confidence at which the mean F1 of the classes is best; NaN where nothing was there to find."""
        known = ~np.isnan(self.f1[:, 0])
        return _best(self.f1[known].mean(axis=0), self.confidences) if known.any() else np.nan


def draw_curves(matches: Matches, num_classes: int) -> Curves:
    """Count right and wrong detections above every confidence."""
    confidences = np.linspace(0, 1, STEPS + 1)
    table = np.full((3, num_classes, len(confidences)), np.nan)
    interpolated = np.full((num_classes, len(RECALLS)), np.nan)
    for index in range(num_classes):
        rows, objects = matches.of_class(index)
        if objects:
            right = matches.correct[rows, 0]
            table[:, index] = _over(confidences, matches.scores[rows], right, objects)
            interpolated[index] = interpolate(right, objects)
    return Curves(confidences, table[0], table[1], table[2], interpolated)


def interpolate(right: NDArray[np.bool_], objects: int) -> NDArray[np.float64]:
    """COCO's precision (101,) at the recalls 0, 0.01 ... 1; its mean is AP. right: (D,), best first."""
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(found / objects, RECALLS, side="left")
    return np.append(envelope, 0.0)[np.minimum(places, len(envelope))]


def _over(
    confidences: NDArray[np.float64], scores: NDArray[np.float64], right: NDArray[np.bool_], objects: int
) -> NDArray[np.float64]:
    """Precision, recall, F1: (3, confidences). scores: falling."""
    above = np.searchsorted(-scores, -confidences, side="left")  # how many are above each
    found = np.concatenate([[0], np.cumsum(right)])[above]
    with np.errstate(invalid="ignore"):
        precision = np.where(above > 0, found / above, np.nan)
    return np.stack([precision, found / objects, 2 * found / (above + objects)])


def _best(f1: NDArray[np.float64], confidences: NDArray[np.float64]) -> float:
    if not f1.max() > 0:  # NaN too
        return float("nan")
    first = int(f1.argmax())
    worse = np.flatnonzero(f1[first:] < f1[first])
    last = first + int(worse[0]) - 1 if len(worse) else len(f1) - 1
    return float(confidences[(first + last) // 2])
