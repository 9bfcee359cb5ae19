"""Conversions undo one another; IoU is what its name says."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.vision.boxes import (
    area,
    cxcywh_to_xyxy,
    iou_matrix,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)

corner = st.integers(-6, 6)


def boxes_from(corners: list[tuple[int, int, int, int]]) -> NDArray[np.float32]:
    points = np.array(corners, np.float32).reshape(-1, 2, 2)
    return np.sort(points, axis=1).reshape(-1, 4)


boxes = st.lists(st.tuples(corner, corner, corner, corner), max_size=8).map(boxes_from)


def test_conversions_by_hand() -> None:
    xyxy = np.array([[10, 20, 40, 30]], np.float32)
    np.testing.assert_array_equal(xyxy_to_cxcywh(xyxy), [[25, 25, 30, 10]])
    np.testing.assert_array_equal(xyxy_to_xywh(xyxy), [[10, 20, 30, 10]])
    np.testing.assert_array_equal(area(xyxy), [300])


@settings(deadline=None, max_examples=50)
@given(boxes)
def test_conversions_undo_one_another_and_keep_float32(some: NDArray[np.float32]) -> None:
    for there, back in ((xyxy_to_cxcywh, cxcywh_to_xyxy), (xyxy_to_xywh, xywh_to_xyxy)):
        assert there(some).dtype == np.float32
        np.testing.assert_array_equal(back(there(some)), some)


@settings(deadline=None, max_examples=25)
@given(boxes, boxes)
def test_iou_counts_shared_cells(some: NDArray[np.float32], others: NDArray[np.float32]) -> None:
    """On whole coordinates the IoU is a count of unit cells."""
    found = iou_matrix(some, others)
    assert found.shape == (len(some), len(others))
    assert found.dtype == np.float32
    for row, one in enumerate(some):
        for column, other in enumerate(others):
            cells = [{(x, y) for x in np.arange(b[0], b[2]) for y in np.arange(b[1], b[3])} for b in (one, other)]
            union = len(cells[0] | cells[1])
            expected = len(cells[0] & cells[1]) / union if union else np.nan
            np.testing.assert_allclose(found[row, column], expected, rtol=1e-6)


def test_iou_of_boxes_that_are_none_is_nan_without_a_warning() -> None:
    broken = np.array([[5, 5, 5, 5], [0, 0, np.inf, np.inf], [np.nan, 0, 1, 1], [0, 0, 3e38, 3e38]], np.float32)
    assert not (iou_matrix(broken, broken) > 0).any()
