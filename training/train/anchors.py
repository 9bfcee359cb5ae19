"""How well anchors fit the boxes of a set, and anchors that fit better.

A box can be learnt only from an anchor whose sides are less than ``threshold`` times longer or shorter than its own
(``assign.candidates``). The share of boxes that have one is the best recall that training can reach. Better anchors are
found by k-means over the logarithms of the sides, then by mutations that are kept where they help. Nothing is changed
by itself: a recipe states its anchors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data import CocoDataset

ENOUGH_RECALL = 0.98  # below it the reference looks for other anchors
_PER_LEVEL = 3
_ROUNDS, _GENERATIONS = 30, 1000
_MUTATED, _SPREAD = 0.3, 0.1  # share of the sides that a mutation touches, and by how much
_LONGEST = 20_000  # boxes that mutations are judged by


@dataclass(frozen=True, slots=True)
class AnchorFit:
    """recall: share of the boxes that some anchor can learn. anchors_per_box: how many can, on average."""

    recall: float
    anchors_per_box: float


def box_sizes(dataset: CocoDataset, image_size: int) -> NDArray[np.float64]:
    """Width and height of every box that is trained on, in pixels of images scaled to ``image_size``: (N, 2)."""
    sizes = [
        (image.boxes_xyxy[:, 2:] - image.boxes_xyxy[:, :2])[~image.crowd]
        * (image_size / max(image.width, image.height))
        for image in dataset.images
    ]
    found = np.concatenate(sizes).astype(np.float64)
    return found[(found > 0).all(axis=1)]


def measure(sizes: NDArray[np.float64], anchors: NDArray[np.float64], threshold: float) -> AnchorFit:
    """Compare boxes (N, 2) with anchors (A, 2), widths and heights in the same pixels."""
    near = _nearness(sizes, anchors) > 1 / threshold
    return AnchorFit(float(near.any(axis=1).mean()), float(near.sum(axis=1).mean()))


def suggest(
    sizes: NDArray[np.float64], *, levels: int, threshold: float, seed: int = 0
) -> tuple[tuple[float, ...], ...]:
    """Return anchors in the form of ``Config.anchors``, the smallest on the first level. Needs a box per anchor."""
    rng = np.random.default_rng(seed)
    anchors = _mutated(sizes, _clustered(sizes, levels * _PER_LEVEL, rng), threshold, rng)
    ordered = anchors[anchors.prod(axis=1).argsort()].round(1).reshape(levels, -1)
    return tuple(tuple(level) for level in ordered.tolist())


def _nearness(sizes: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The worse of the two sides' ratios, each taken so that it is at most 1: (N, A)."""
    ratio = sizes[:, None] / anchors
    worst: NDArray[np.float64] = np.minimum(ratio, 1 / ratio).min(axis=2)
    return worst


def _clustered(sizes: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    points = np.log(sizes)
    centres = points[rng.integers(len(points), size=1)]
    while len(centres) < count:  # the next one far from all others, as k-means++ does
        distance = ((points[:, None] - centres) ** 2).sum(axis=2).min(axis=1) + 1e-12
        centres = np.concatenate((centres, points[rng.choice(len(points), size=1, p=distance / distance.sum())]))
    for _ in range(_ROUNDS):
        nearest = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        taken = [points[nearest == index] for index in range(count)]
        centres = np.stack([own.mean(axis=0) if len(own) else old for own, old in zip(taken, centres, strict=True)])
    return np.exp(centres)


def _mutated(
    sizes: NDArray[np.float64], anchors: NDArray[np.float64], threshold: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    judged = sizes if len(sizes) <= _LONGEST else sizes[rng.choice(len(sizes), _LONGEST, replace=False)]
    best = _fitness(judged, anchors, threshold)
    for _ in range(_GENERATIONS):
        touched = rng.random(anchors.shape) < _MUTATED
        changed = anchors * np.where(touched, np.exp(rng.normal(0, _SPREAD, anchors.shape)), 1.0)
        if (fitness := _fitness(judged, changed, threshold)) > best:
            anchors, best = changed, fitness
    return anchors


def _fitness(sizes: NDArray[np.float64], anchors: NDArray[np.float64], threshold: float) -> float:
    """Mean nearness of each box to its best anchor; boxes that no anchor can learn count nothing."""
    nearest = _nearness(sizes, anchors).max(axis=1)
    return float(np.where(nearest > 1 / threshold, nearest, 0).mean())


def flat(anchors: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Levels of w, h, w, h, ... as (A, 2)."""
    return np.array([side for level in anchors for side in level], np.float64).reshape(-1, 2)
