"""Which images a model does worst on: false detections, missed objects, and what each image costs in AP50.

False and missed are counted at the confidence that suits each class best (``curves``), if not below 0.05; at IoU 0.5.
The cost of an image takes time that grows with the set, so of a large set only the images with the most errors have
one; an error weighs more in a class of few objects.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluate.calibration import FLOOR
from training.evaluate.curves import RECALLS, Curves
from training.evaluate.matches import Matches

_COSTED = 2000  # images


@dataclass(frozen=True, slots=True, eq=False)
class ImageErrors:
    """Of all I images of a set.

    shown: (D,) bool, detections above their class's best confidence. missed: (G,) bool, objects that none of those has.
    false_count, missed_count, found_count: (I,). cost: (I,) by how much AP50 would rise if the detections in this image
    were perfect; NaN where that was not computed.
    """

    shown: NDArray[np.bool_]
    missed: NDArray[np.bool_]
    false_count: NDArray[np.int64]
    missed_count: NDArray[np.int64]
    found_count: NDArray[np.int64]
    cost: NDArray[np.float64]

    def worst(self) -> NDArray[np.int64]:
        """All images that have errors or cost something, the costliest first, then by the number of errors."""
        errors = self.false_count + self.missed_count
        order = np.lexsort((-errors, -self.cost.round(6)))
        return order[(errors[order] > 0) | (self.cost[order] > 0)]

    def typical(self, count: int, *, without: NDArray[np.int64]) -> NDArray[np.int64]:
        """Images with objects, spread evenly from the best F1 to the worst, the extremes and ``without`` left out."""
        errors = self.false_count + self.missed_count
        with np.errstate(invalid="ignore"):
            f1 = 2 * self.found_count / (2 * self.found_count + errors)
        rows = np.setdiff1d(np.flatnonzero(self.found_count + self.missed_count), without)
        order = rows[(-f1[rows]).argsort(kind="stable")]
        places = (np.arange(min(count, len(order))) + 0.5) * len(order) / max(min(count, len(order)), 1)
        return order[places.astype(np.int64)]


def find_errors(matches: Matches, curves: Curves, num_images: int) -> ImageErrors:
    """Count the errors of each image, and what it costs."""
    best = [curves.best_confidence(index) for index in range(len(curves.f1))]
    limits = np.fmax(np.nan_to_num(np.array(best), nan=curves.best_common_confidence()), FLOOR)
    shown = matches.scores > limits[matches.classes]
    false = shown & ~matches.correct[:, 0] & ~matches.ignored[:, 0]
    missed = ~np.append(shown, False)[matches.found_by]
    weights = 1 / np.maximum(np.bincount(matches.object_classes, minlength=len(curves.f1)), 1)
    image = np.concatenate([matches.image[false], matches.object_image[missed]])
    classes = np.concatenate([matches.classes[false], matches.object_classes[missed]])
    weight = np.bincount(image, weights[classes], num_images)
    costed = np.sort((-weight).argsort(kind="stable")[:_COSTED])
    return ImageErrors(
        shown=shown,
        missed=missed,
        false_count=np.bincount(matches.image[false], minlength=num_images),
        missed_count=np.bincount(matches.object_image[missed], minlength=num_images),
        found_count=np.bincount(matches.object_image[~missed], minlength=num_images),
        cost=_costs(matches, len(curves.f1), num_images, costed),
    )


def _costs(matches: Matches, num_classes: int, num_images: int, costed: NDArray[np.int64]) -> NDArray[np.float64]:
    costs = np.full(num_images, np.nan)
    costs[costed] = 0
    scored = 0
    for index in range(num_classes):
        rows, objects = matches.of_class(index)
        if not objects:
            continue
        scored += 1
        image, strong = matches.image[rows], matches.scores[rows] > FLOOR
        own = np.bincount(matches.object_image[matches.object_classes == index], minlength=num_images)
        ranking = _Ranking.of(matches.correct[rows, 0], objects)
        now, nothing = ranking.ap50(np.empty(0, np.int64), 0), np.bincount(image[strong], minlength=num_images) == 0
        by_image = image.argsort(kind="stable")
        begins, ends = (np.searchsorted(image[by_image], costed, side=side) for side in ("left", "right"))
        for place, begin, end in zip(costed.tolist(), begins.tolist(), ends.tolist(), strict=True):
            # A class whose only traces in an image are weaker costs nothing worth computing.
            if own[place] or not nothing[place]:
                costs[place] += ranking.ap50(by_image[begin:end], int(own[place])) - now
    return costs / max(scored, 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """The detections of a class, best first, of which only the right ones decide its AP.

    right: (D,) bool. hits: ranks of the right ones; false_before: how many wrong ones rank before each. reached: which
    of the right ones, counted from 0, reaches each recall of COCO's.
    """

    right: NDArray[np.bool_]
    hits: NDArray[np.int64]
    false_before: NDArray[np.int64]
    reached: NDArray[np.int64]

    @classmethod
    def of(cls, right: NDArray[np.bool_], objects: int) -> "_Ranking":
        hits = np.flatnonzero(right)
        reached = np.searchsorted(np.arange(1, objects + 1) / objects, RECALLS)
        return cls(right, hits, hits - np.arange(len(hits)), reached)

    def ap50(self, ranks: NDArray[np.int64], objects: int) -> float:
        """AP if so many objects were found before all others, and the detections at these ranks were not there."""
        right = self.right[ranks]
        kept = np.ones(len(self.hits), np.bool_)
        kept[np.searchsorted(self.hits, ranks[right])] = False
        hits = self.hits[kept]
        found = objects + np.arange(1, len(hits) + 1)
        false = self.false_before[kept] - np.searchsorted(ranks[~right], hits)
        envelope = np.maximum.accumulate((found / (found + false))[::-1])[::-1]
        precision = np.concatenate([np.ones(objects), envelope, [0.0]])
        return float(precision[np.minimum(self.reached, len(precision) - 1)].mean())
