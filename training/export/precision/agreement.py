"""How close a narrower engine's answers are to the float32 ones, output by output.

Scores near the floor decide which of a thousand candidates come last, so they say little: of each image the best few
are looked for among all that the other engine answers. This module judges nothing; accuracy is measured by AP.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates
from training.export.parity import Run

BEST = 20  # candidates of an image


@dataclass(frozen=True, slots=True)
class Agreement:
    """What became of the ``candidates`` best of all images.

    predictions, classes: the share of them that come back from the same prediction, and with the same class too.
    boxes_px, scores: mean and largest difference of those that come back; NaN where none does.
    """

    candidates: int
    predictions: float
    classes: float
    boxes_px: tuple[float, float]
    scores: tuple[float, float]

    def __str__(self) -> str:
        boxes, scores = (f"{mean:.2g} (at most {most:.2g})" for mean, most in (self.boxes_px, self.scores))
        shares = f"predictions {100 * self.predictions:.1f} %, classes {100 * self.classes:.1f} %"
        return f"boxes {boxes} px, scores {scores}, {shares}"


def agreement(reference: Run, other: Run, batches: Iterable[NDArray[np.uint8]]) -> Agreement:
    """Ask both about ``batches``, uint8 (B, H, W, 3) each."""
    pairs: list[tuple[Candidates, Candidates]] = []
    for batch in batches:
        expected, found = reference(batch), other(batch)
        pairs += [(expected.image(index), found.image(index)) for index in range(len(batch))]
    return compare_candidates(pairs)


def compare_candidates(pairs: Sequence[tuple[Candidates, Candidates]]) -> Agreement:
    """Compare the best of each first with all of its second."""
    boxes: list[float] = []
    scores: list[float] = []
    count = same = 0
    for expected, found in pairs:
        rows = {key: row for row, key in reversed(list(enumerate(_keys(found))))}
        seen = set(found.predictions.tolist())
        for row, key in enumerate(_keys(expected)[:BEST]):
            count += 1
            same += key[0] in seen
            if key in rows:
                boxes.append(float(np.abs(expected.boxes[row] - found.boxes[rows[key]]).max()))
                scores.append(float(abs(expected.scores[row] - found.scores[rows[key]])))
    return Agreement(
        count, same / max(count, 1), len(boxes) / max(count, 1), _mean_and_most(boxes), _mean_and_most(scores)
    )


def _keys(candidates: Candidates) -> list[tuple[int, int]]:
    return list(zip(candidates.predictions.tolist(), candidates.classes.tolist(), strict=True))


def _mean_and_most(values: list[float]) -> tuple[float, float]:
    return (sum(values) / len(values), max(values)) if values else (float("nan"), float("nan"))
