"""The reference's own AP, which differs from COCO's in how it interpolates: for figures beside published ones.

It joins the points of precision and recall by straight lines and integrates them, where COCO takes steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CONFIDENCES = np.linspace(0, 1, 1000)
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceScores:
    """Of the C classes that have objects. precision, recall, f1: (C,) where their mean F1 is best. ap: (C, T)."""

    classes: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    ap: NDArray[np.float64]


def reference_scores(
    correct: NDArray[np.bool_],
    scores: NDArray[np.float64],
    predicted: NDArray[np.int64],
    *,
    true: NDArray[np.int64],
    to_full_recall: bool = False,
) -> ReferenceScores:
    """Score detections as the reference does.

    correct: (D, T), at each IoU. scores, predicted: (D,), confidence and class. true: (G,), classes of the objects.
    to_full_recall: draw the last line to a recall of 1 (its option ``v5_metric``) instead of 0.01 beyond the last.
    """
    order = (-scores).argsort(kind="stable")
    correct, scores, predicted = correct[order], scores[order], predicted[order]
    classes, counts = np.unique(true, return_counts=True)
    curves = np.zeros((2, len(classes), len(_CONFIDENCES)))
    ap = np.zeros((len(classes), correct.shape[1]))
    for place, (index, objects) in enumerate(zip(classes, counts, strict=True)):
        rows = predicted == index
        if not rows.any():
            continue
        found = correct[rows].cumsum(axis=0)  # (D, T)
        recall, precision = found / objects, found / np.arange(1, len(found) + 1)[:, None]
        for curve, values, above_all in ((curves[0], precision, 1.0), (curves[1], recall, 0.0)):
            curve[place] = np.interp(-_CONFIDENCES, -scores[rows], values[:, 0], left=above_all)
        last = 1.0 if to_full_recall else None
        ap[place] = [_integral(recall[:, t], precision[:, t], last) for t in range(ap.shape[1])]
    f1 = 2 * curves[0] * curves[1] / (curves.sum(axis=0) + 1e-16)
    best = int(f1.mean(axis=0).argmax()) if len(classes) else 0
    return ReferenceScores(classes, curves[0][:, best], curves[1][:, best], f1[:, best], ap)


def _integral(recall: NDArray[np.float64], precision: NDArray[np.float64], last: float | None) -> float:
    ends = np.concatenate([[0.0], recall, [recall[-1] + 0.01 if last is None else last]])
    heights = np.concatenate([[1.0], precision, [0.0]])
    envelope = np.maximum.accumulate(heights[::-1])[::-1]
    return float(np.trapezoid(np.interp(_RECALLS, ends, envelope), _RECALLS))
