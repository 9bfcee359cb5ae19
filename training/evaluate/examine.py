"""A closer look at a set's detections than its AP: curves, confusion, calibration, and the images behind them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Detections
from training.data import CocoDataset
from training.evaluate.calibration import FLOOR, Calibration, calibrate
from training.evaluate.confusion import confusion_matrix
from training.evaluate.curves import Curves, draw_curves
from training.evaluate.images import ImageErrors, find_errors
from training.evaluate.matches import Matches
from training.evaluate.reference_metric import reference_scores
from training.evaluate.score import Evaluation, score_and_match

_WORST = 20  # images that the JSON names


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """All that is known of a model's detections on a set.

    confusion: (C + 1, C + 1), rows are true classes, columns predicted ones, the last of both the background.
    reference_ap, reference_ap50: the reference's own metric.
    """

    dataset: CocoDataset
    evaluation: Evaluation
    matches: Matches
    curves: Curves
    confusion: NDArray[np.int64]
    calibration: Calibration
    errors: ImageErrors
    reference_ap: float
    reference_ap50: float

    def class_confidence(self) -> dict[str, float]:
        """The confidence at which each class has its best F1: what to ask the service for as ``class_confidence``.

        Left out are classes without objects, and those that are best below 0.05: nothing of them is worth showing.
        """
        best = {name: self.curves.best_confidence(index) for index, name in enumerate(self.dataset.class_names)}
        return {name: round(value, 3) for name, value in best.items() if value >= FLOOR}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON: NaN is null, which JSON knows."""
        worst = self.errors.worst()[:_WORST].tolist()
        table = self.evaluation.to_dict() | {
            "reference_metric": {"ap": self.reference_ap, "ap50": self.reference_ap50},
            "class_confidence": self.class_confidence(),
            "common_confidence": self.curves.best_common_confidence(),
            "calibration_error": self.calibration.error,
            "confusion": {"classes": [*self.dataset.class_names, "background"], "counts": self.confusion.tolist()},
            "worst_images": [
                {
                    "image": self.dataset.images[place].path.name,
                    "cost_ap50": self.errors.cost[place],
                    "false": int(self.errors.false_count[place]),
                    "missed": int(self.errors.missed_count[place]),
                }
                for place in worst
            ],
        }
        return {key: _plain(value) for key, value in table.items()}


def examine(dataset: CocoDataset, detections: Iterable[tuple[int, Detections]]) -> Examination:
    """Score detections (image id, detections) and look at them closely. Raises DatasetError."""
    found = dict(detections)
    evaluation, matches = score_and_match(dataset, found.items())
    curves = draw_curves(matches, len(dataset.class_names))
    counted = ~matches.ignored[:, 0]
    reference = reference_scores(
        matches.correct[counted], matches.scores[counted], matches.classes[counted], true=matches.object_classes
    )
    return Examination(
        dataset=dataset,
        evaluation=evaluation,
        matches=matches,
        curves=curves,
        confusion=confusion_matrix(dataset, found),
        calibration=calibrate(matches),
        errors=find_errors(matches, curves, len(dataset)),
        reference_ap=float(reference.ap.mean()) if reference.ap.size else math.nan,
        reference_ap50=float(reference.ap[:, 0].mean()) if reference.ap.size else math.nan,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
