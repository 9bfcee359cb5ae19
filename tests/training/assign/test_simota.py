"""SimOTA against itself said in loops, one target at a time, and what holds for any scene."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, one_hot

from training.assign import FINE_REACH, Cells, Pyramid, find_candidates
from training.assign.simota import _classification_cost, _first_cheapest, simota
from training.boxes import box_iou, cxcywh_to_xyxy

SIDE, CLASSES = 192, 6
STRIDES = torch.tensor([8.0, 16.0, 32.0])
ANCHORS_PX = torch.tensor([[[10, 13], [16, 30]], [[30, 61], [62, 45]], [[116, 90], [156, 198]]]).float()
PYRAMID = Pyramid.of((SIDE, SIDE), anchors_px=ANCHORS_PX, strides=STRIDES)
Matching = tuple[Cells, Tensor, Tensor, Tensor]


def matching(count: int, seed: int, *, images: int = 3) -> Matching:
    """Candidates, raw rows, decoded boxes and targets in pixels of a crowded batch; the middle image is empty."""
    generator = torch.Generator().manual_seed(seed)
    extent = torch.exp(torch.empty(count, 2).uniform_(-3.5, -0.5, generator=generator))
    image = 2 * torch.randint(0, images - 1, (count, 1), generator=generator).clamp(max=1)
    label = torch.randint(0, CLASSES, (count, 1), generator=generator)
    targets = torch.cat((image, label, torch.rand(count, 2, generator=generator), extent), dim=1)
    candidates = find_candidates(targets, PYRAMID, threshold=4.0, reach=FINE_REACH)
    outputs = [
        torch.randn(images, 2, side, side, 5 + CLASSES, generator=generator) for side in (SIDE / STRIDES).int().tolist()
    ]
    rows = candidates.rows(outputs)
    boxes = candidates.boxes(rows, PYRAMID)
    boxes[:, :2] += candidates.corner
    boxes = cxcywh_to_xyxy(boxes * STRIDES[candidates.level, None])
    targets[:, 2:] = cxcywh_to_xyxy(targets[:, 2:] * SIDE)
    return candidates, rows, boxes, targets


def slow(image: int, scene: Matching, limit: int) -> set[tuple[int, int]]:
    """Say the rule in loops for one image: {(candidate, target)}."""
    candidates, rows, boxes, targets = scene
    near = (candidates.image == image).nonzero()[:, 0]
    wanted = (targets[:, 0] == image).nonzero()[:, 0]
    iou = box_iou(targets[wanted, None, 2:], boxes[near])
    joint = (rows[near, 5:].sigmoid() * rows[near, 4:5].sigmoid()).sqrt()
    truth = one_hot(targets[wanted, 1].long(), CLASSES).float()
    pairs = (len(wanted), len(near), CLASSES)
    entropy = binary_cross_entropy(joint.expand(pairs), truth[:, None].expand(pairs), reduction="none").sum(dim=-1)
    cost = entropy - 3 * torch.log(iou + 1e-8)
    taken = torch.zeros(len(wanted), len(near), dtype=torch.bool)
    for row, best in enumerate(iou.topk(min(limit, len(near)), dim=1).values.sum(dim=1)):
        taken[row, cost[row].topk(max(1, int(best)), largest=False).indices] = True
    for column in (taken.sum(dim=0) > 1).nonzero()[:, 0]:
        taken[:, column] = False
        taken[cost[:, column].argmin(), column] = True
    return {(int(near[column]), int(wanted[row])) for row, column in taken.nonzero()}


def chosen(scene: Matching, limit: int = 10) -> tuple[Cells, set[tuple[int, ...]]]:
    """The marked candidates, and what of them is positive: {(level, image, anchor, row, column, target)}."""
    candidates, rows, boxes, targets = scene
    cells = simota(candidates, rows, boxes=boxes, targets=targets, limit=limit)
    table = torch.stack((cells.level, *cells.position, cells.target)).T
    return cells, {tuple(row) for row in table[cells.positive].tolist()}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("count", "limit"), [(12, 10), (60, 10), (150, 20)])
def test_the_table_matches_as_single_targets_do(count: int, limit: int, seed: int) -> None:
    scene = matching(count, seed)
    candidates = scene[0]
    expected = set[tuple[int, int]]().union(*(slow(image, scene, limit) for image in (0, 2)))
    cells, found = chosen(scene, limit)
    place = torch.stack((candidates.level, *candidates.position)).T.tolist()
    assert cells.positive.sum() == len(expected)
    assert found == {(*place[candidate], target) for candidate, target in expected}


def test_candidates_stay_where_they_were_and_serve_targets_of_their_image() -> None:
    scene = matching(80, 1)
    cells, _ = chosen(scene)
    assert torch.equal(cells.position, scene[0].position)
    assert torch.equal(scene[3][cells.target, 0].long(), cells.image)


def test_counts_are_those_of_the_positives() -> None:
    cells, _ = chosen(matching(80, 2))
    assert cells.count().tolist() == [cells.positive[cells.level == level].sum() for level in range(3)]
    assert 0 < cells.count().sum() < sum(cells.per_level)


def test_where_equal_costs_leave_more_than_wanted_the_first_are_taken() -> None:
    cost = torch.tensor([[2.0, 1, 2, 2, 3], [1, 1, 1, 1, torch.inf], [4, 3, 2, 1, 0]])
    valid, k = cost.isfinite(), torch.tensor([2, 3, 2])
    taken, tied = _first_cheapest(cost, valid, k=k, limit=4)
    assert taken.int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    assert tied.tolist() == [True, True, False]


def test_a_lone_target_always_finds_a_prediction() -> None:
    for seed in range(20):
        scene = matching(1, seed)
        assert len(chosen(scene)[1]) >= 1 or not len(scene[1])


def test_saturated_predictions_have_finite_costs() -> None:
    _, rows, _, targets = matching(30, 3)
    everyone = torch.arange(len(rows)).expand(len(targets), -1)
    cost = _classification_cost(rows * 1e4, targets[:, 1].long(), everyone)
    assert cost.isfinite().all()
    assert (cost > -1e-3).all()


def test_a_batch_without_targets_has_no_positives() -> None:
    cells, found = chosen(matching(0, 0))
    assert (found, cells.per_level) == (set(), (0, 0, 0))
