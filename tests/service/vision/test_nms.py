"""NMS against the rule written out box by box."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.vision import nms as module
from service.vision.boxes import iou_matrix
from service.vision.nms import nms


def brute_force(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, classes: NDArray[np.int32]
) -> list[int]:
    """The rule, word by word."""
    kept: list[int] = []
    overlaps = iou_matrix(boxes, boxes) > np.float32(threshold)
    for index in np.argsort(-scores, kind="stable").tolist():
        if not any(overlaps[rival, index] and classes[rival] == classes[index] for rival in kept):
            kept.append(index)
    return kept


def crowd(seed: int, count: int, *, spread: float, shift: float = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes with many overlaps, corners on a coarse grid and scores in few steps, so that ties of both kinds occur."""
    rng = np.random.default_rng(seed)
    top_left = np.round(rng.uniform(0, spread, (count, 2))) + shift
    size = np.round(rng.uniform(0, 12, (count, 2)))
    scores = rng.integers(1, 20, count) / 20
    return np.concatenate([top_left, top_left + size], axis=1).astype(np.float32), scores.astype(np.float32)


@given(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from([0.0, 0.3, 0.45, 0.5, 0.65, 1.0]), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_every_box_is_kept_or_dropped_as_the_rule_says(seed: int, count: int, threshold: float, kinds: int) -> None:
    boxes, scores = crowd(seed, count, spread=20)
    classes = np.random.default_rng(seed).integers(0, kinds, count, dtype=np.int32)
    assert nms(boxes, scores, threshold, classes=classes).tolist() == brute_force(boxes, scores, threshold, classes)


@pytest.mark.parametrize("count", [module.BLOCK - 1, module.BLOCK, module.BLOCK + 1, 3 * module.BLOCK])
def test_blocks_do_not_show(count: int) -> None:
    boxes, scores = crowd(1, count, spread=60)
    assert nms(boxes, scores, 0.3).tolist() == brute_force(boxes, scores, 0.3, np.zeros(count, np.int32))


def test_the_first_few_are_the_first_few_of_all() -> None:
    boxes, scores = crowd(2, 500, spread=200)
    everything = nms(boxes, scores, 0.45)
    for limit in (0, 1, 7, 150, len(everything), 10_000):
        np.testing.assert_array_equal(nms(boxes, scores, 0.45, limit=limit), everything[:limit])


def test_an_iou_at_the_threshold_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.4999).tolist() == [0]


def test_equal_scores_go_in_the_order_given() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]], np.float32)
    assert nms(boxes, np.full(3, 0.5, np.float32), 0.5).tolist() == [0, 2]


def test_classes_leave_one_another_alone_at_any_coordinates() -> None:
    """Shifting classes apart by an offset fails here: at 100,000 pixels they meet again, and float32 rounds."""
    boxes = np.array([[1e5, 1e5, 1e5 + 8, 1e5 + 8], [1e5, 1e5, 1e5 + 8, 1e5 + 8], [0, 0, 8, 8]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert nms(boxes, scores, 0.5, classes=np.array([0, 1, 24], np.int32)).tolist() == [0, 1, 2]
    assert nms(boxes, scores, 0.5, classes=np.array([1, 1, 1], np.int32)).tolist() == [0, 2]


def test_thirty_thousand_boxes_need_no_square_matrix() -> None:
    boxes, scores = crowd(3, 30_000, spread=3000)
    kept = nms(boxes, scores, 0.65, limit=300)
    assert len(kept) == 300
    assert (np.diff(scores[kept]) <= 0).all()
    overlaps = iou_matrix(boxes[kept], boxes[kept]) > 0.65
    assert not np.triu(overlaps, 1).any()
