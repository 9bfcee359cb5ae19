"""Which images a model does worst on: false detections, missed objects, and what each image costs in AP50.

False and missed are counted at the confidence that suits each class best (``curves``), if not below 0.05; at IoU 0.5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluate.calibration import FLOOR
from training.evaluate.curves import Curves, interpolate
from training.evaluate.matches import Matches


@dataclass(frozen=True, slots=True, eq=False)
class ImageErrors:
    """Of all I images of a set.

    shown: (D,) bool, detections above their class's best confidence. missed: (G,) bool, objects that none of those has.
    false_count, missed_count, found_count: (I,). cost: (I,) by how much AP50 would rise if the detections in this image
    were perfect.
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

    def typical(self, count: int) -> NDArray[np.int64]:
        """Images with objects, spread evenly from the best F1 to the worst, the extremes left out."""
        errors = self.false_count + self.missed_count
        with np.errstate(invalid="ignore"):
            f1 = 2 * self.found_count / (2 * self.found_count + errors)
        rows = np.flatnonzero(self.found_count + self.missed_count)
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
    return ImageErrors(
        shown=shown,
        missed=missed,
        false_count=np.bincount(matches.image[false], minlength=num_images),
        missed_count=np.bincount(matches.object_image[missed], minlength=num_images),
        found_count=np.bincount(matches.object_image[~missed], minlength=num_images),
        cost=_costs(matches, len(curves.f1), num_images),
    )


def _costs(matches: Matches, num_classes: int, num_images: int) -> NDArray[np.float64]:
    costs = np.zeros(num_images)
    scored = 0
    for index in range(num_classes):
        rows, objects = matches.of_class(index)
        if not objects:
            continue
        scored += 1
        right, image = matches.correct[rows, 0], matches.image[rows]
        own = np.bincount(matches.object_image[matches.object_classes == index], minlength=num_images)
        now = interpolate(right, objects).mean()
        # A class whose only traces in an image are weaker costs nothing worth computing.
        strong = np.bincount(image[matches.scores[rows] > FLOOR], minlength=num_images)
        for place in np.flatnonzero(own + strong).tolist():
            # Its objects found before all others, and none of its detections besides.
            perfect = np.concatenate([np.ones(own[place], np.bool_), right[image != place]])
            costs[place] += interpolate(perfect, objects).mean() - now
    return costs / max(scored, 1)
