"""How far two engines see the same: the share of boxes that the other one has too."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.vision.boxes import iou_matrix
from service.vision.detections import Detections


@dataclass(frozen=True, slots=True)
class Alike:
    """When two boxes count as one: of the same class, overlapping by at least iou, scores no further apart than score.

    floor: boxes that score less are not asked about, but may be the partner of one that is.
    """

    iou: float
    score: float
    floor: float


def agreement(ones: Mapping[int, Detections], others: Mapping[int, Detections], alike: Alike) -> float:
    """Of the boxes of both sides, by image id, the share that has its like on the other side; NaN of no box at all."""
    counts = np.zeros(2, np.int64)  # of partners, of boxes
    for key, one in ones.items():
        counts += _partners(one, others[key], alike)
        counts += _partners(others[key], one, alike)
    return float(counts[0] / counts[1]) if counts[1] else math.nan


def _partners(one: Detections, other: Detections, alike: Alike) -> tuple[int, int]:
    rows = np.flatnonzero(one.scores >= alike.floor)
    near = iou_matrix(one.boxes[rows], other.boxes) >= alike.iou  # (rows, N)
    near &= one.class_ids[rows, None] == other.class_ids
    near &= np.abs(one.scores[rows, None] - other.scores) <= alike.score
    return int(near.any(axis=1).sum()), len(rows)
