"""Box conversions and overlaps: the reference's numbers, and what holds for any boxes."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.boxes import box_iou, complete_iou, cxcywh_to_xyxy

side = st.floats(1, 500, width=32)
boxes_cxcywh = st.tuples(side, side, side, side).map(torch.tensor)


def test_complete_iou_is_the_references(golden: Path) -> None:
    numbers = np.load(golden / "ciou.npz")
    found = complete_iou(torch.from_numpy(numbers["pred_xywh"]), torch.from_numpy(numbers["target_xywh"]))
    np.testing.assert_allclose(found, numbers["ciou"], atol=1e-6)


def test_complete_ious_gradient_is_the_references(golden: Path) -> None:
    numbers = np.load(golden / "ciou.npz")
    pred = torch.from_numpy(numbers["pred_xywh"]).requires_grad_()
    (1 - complete_iou(pred, torch.from_numpy(numbers["target_xywh"]))).mean().backward()
    np.testing.assert_allclose(pred.grad, numbers["grad_of_mean_loss"], atol=1e-7)


def test_plain_iou_is_the_references(golden: Path) -> None:
    numbers = np.load(golden / "ciou.npz")
    pred, target = (cxcywh_to_xyxy(torch.from_numpy(numbers[name])) for name in ("pred_xywh", "target_xywh"))
    np.testing.assert_allclose(box_iou(pred, target), numbers["iou"], atol=1e-6)


def test_corners_lie_half_a_side_from_the_centre() -> None:
    assert cxcywh_to_xyxy(torch.tensor([[5.0, 6, 4, 2]])).tolist() == [[3, 5, 7, 7]]


@given(boxes_cxcywh, boxes_cxcywh)
def test_complete_iou_never_exceeds_plain_iou(first: Tensor, second: Tensor) -> None:
    assert complete_iou(first, second) <= box_iou(cxcywh_to_xyxy(first), cxcywh_to_xyxy(second)) + 1e-5


@given(boxes_cxcywh)
def test_a_box_overlaps_itself_wholly(box: Tensor) -> None:
    torch.testing.assert_close(complete_iou(box, box), torch.tensor(1.0), atol=1e-5, rtol=0)


def test_iou_broadcasts_to_a_matrix() -> None:
    rows = torch.tensor([[0.0, 0, 4, 4], [2, 2, 4, 4]])
    columns = torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4], [8, 8, 9, 9]])
    expected = torch.tensor([[1, 8 / 24, 0], [0.25, 4 / 16, 0]])
    torch.testing.assert_close(box_iou(rows[:, None], columns), expected)


def test_boxes_without_area_do_not_overlap() -> None:
    assert box_iou(torch.ones(4), torch.ones(4)) == 0


def test_touching_boxes_keep_a_gradient() -> None:
    pred = torch.tensor([10.0, 10, 2, 2], requires_grad=True)
    complete_iou(pred, torch.tensor([50.0, 50, 2, 2])).backward()
    assert pred.grad is not None
    assert (pred.grad[:2] > 0).all()  # towards the target, although nothing overlaps
