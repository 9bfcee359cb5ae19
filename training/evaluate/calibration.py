"""Whether a score means what it says: of detections with a score of 0.7, do seven in ten have an object?

An object counts as found at IoU 0.5. Below ``FLOOR`` lie nearly all detections of an evaluation and none that anybody
is shown; they would make any detector look well calibrated, so they are left out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluate.matches import Matches

FLOOR = 0.05
_BINS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Detections above the floor, by score in ten equal bins; NaN where a bin is empty.

    counts: (10,). confidence: (10,) mean score. precision: (10,) share that is right. error: the expected calibration
    error, mean of |confidence − precision| over the detections; NaN without any.
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    precision: NDArray[np.float64]
    error: float


def calibrate(matches: Matches) -> Calibration:
    """Compare scores with precision over all classes together."""
    rows = (matches.scores > FLOOR) & ~matches.ignored[:, 0]
    scores, right = matches.scores[rows], matches.correct[rows, 0]
    bins = np.minimum((scores * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bins, scores, _BINS) / counts
        precision = np.bincount(bins, right, _BINS) / counts
    gaps = np.abs(confidence - precision)[counts > 0]
    error = float(np.average(gaps, weights=counts[counts > 0])) if len(scores) else float("nan")
    return Calibration(counts, confidence, precision, error)
