"""Two answers compared output by output, on answers whose differences are known."""

import math

import numpy as np

from service.vision.detections import Candidates
from training.export.precision.agreement import BEST, compare_candidates


def candidates(predictions: list[int], scores: list[float], *, shift: float = 0.0, classes: int = 0) -> Candidates:
    count = len(predictions)
    boxes = np.tile(np.array([10, 10, 20, 20], np.float32), (count, 1)) + np.float32(shift)
    return Candidates(
        boxes, np.array(scores, np.float32), np.full(count, classes, np.int32), np.array(predictions, np.int32)
    )


def test_equal_answers_agree() -> None:
    answer = candidates([4, 2], [0.9, 0.8])
    found = compare_candidates([(answer, answer)])
    assert (found.candidates, found.predictions, found.classes) == (2, 1, 1)
    assert (found.boxes_px, found.scores) == ((0, 0), (0, 0))


def test_the_order_does_not_matter_and_differences_are_told() -> None:
    found = compare_candidates([(candidates([4, 2], [0.9, 0.8]), candidates([2, 4], [0.75, 0.65], shift=0.5))])
    assert found.boxes_px == (0.5, 0.5)
    np.testing.assert_allclose(found.scores, (0.15, 0.25), atol=1e-6)
    assert "boxes 0.5 (at most 0.5) px" in str(found)


def test_a_lost_prediction_and_another_class_are_told_apart() -> None:
    expected = candidates([4, 2], [0.9, 0.8])
    lost = compare_candidates([(expected, candidates([4, 7], [0.9, 0.8]))])
    assert (lost.predictions, lost.classes) == (0.5, 0.5)
    other = compare_candidates([(expected, candidates([4, 2], [0.9, 0.8], classes=1))])
    assert (other.predictions, other.classes) == (1, 0)
    assert math.isnan(other.boxes_px[0])


def test_only_the_best_are_looked_for() -> None:
    many = candidates(list(range(BEST + 5)), [0.5] * (BEST + 5))
    assert compare_candidates([(many, candidates(list(range(BEST)), [0.5] * BEST))]).predictions == 1
