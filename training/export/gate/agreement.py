"""How far two engines see the same: the share of boxes that the other one has too, and how far those lie apart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Agreement:
    """share: of the boxes of both sides, those that have their like on the other side; NaN of no box at all.

    boxes_px, scores: mean and largest difference of the first side's boxes from their likes, of a box that of the
    corner's coordinate that differs most, in pixels of the picture; NaN where none has one.
    """

    share: float
    boxes_px: tuple[float, float]
    scores: tuple[float, float]


def agreement(ones: Mapping[int, Detections], others: Mapping[int, Detections], alike: Alike) -> Agreement:
    """Compare, by image id; what is in ``ones`` must be in ``others``."""
    found = boxes = 0
    apart: list[NDArray[np.float32]] = []  # (N, 2) pixels, score
    for key, one in ones.items():
        there, back = _partners(one, others[key], alike), _partners(others[key], one, alike)
        found += int((there >= 0).sum() + (back >= 0).sum())
        boxes += len(there) + len(back)
        apart.append(_apart(one, others[key], there, alike))
    pixels, scores = np.concatenate(apart or [np.empty((0, 2), np.float32)]).T
    return Agreement(found / boxes if boxes else math.nan, _mean_and_most(pixels), _mean_and_most(scores))


def _asked(one: Detections, alike: Alike) -> NDArray[np.intp]:
    return np.flatnonzero(one.scores >= alike.floor)


def _partners(one: Detections, other: Detections, alike: Alike) -> NDArray[np.intp]:
    """For each box of ``one`` that is asked about, the row of ``other`` that overlaps it most; -1 without its like."""
    rows = _asked(one, alike)
    if not len(other.scores):
        return np.full(len(rows), -1)
    overlaps = iou_matrix(one.boxes[rows], other.boxes)  # (rows, N)
    near = overlaps >= alike.iou
    near &= one.class_ids[rows, None] == other.class_ids
    near &= np.abs(one.scores[rows, None] - other.scores) <= alike.score
    return np.where(near.any(axis=1), np.where(near, overlaps, -1).argmax(axis=1), -1)


def _apart(one: Detections, other: Detections, partners: NDArray[np.intp], alike: Alike) -> NDArray[np.float32]:
    rows, likes = _asked(one, alike)[partners >= 0], partners[partners >= 0]
    pixels = np.abs(one.boxes[rows] - other.boxes[likes]).max(axis=1, initial=0)
    return np.stack([pixels, np.abs(one.scores[rows] - other.scores[likes])], axis=1).astype(np.float32)


def _mean_and_most(values: NDArray[np.float32]) -> tuple[float, float]:
    return (float(values.mean()), float(values.max())) if len(values) else (math.nan, math.nan)
