"""SimOTA (Ge et al., YOLOX, 2021, section 2.1): each target takes the cheapest of its image's candidates.

It takes as many as predictions already overlap it. Candidates are pooled over all levels, and one may serve any target
of its image, not only the one it was found for.

Letters: M targets, R candidates, W the most candidates an image has, C classes. The matching is one (M, W) table for
the whole batch: a row per target, a column per candidate of its image.

Neighbouring targets find the same cell, so candidates repeat and have exactly equal costs. Which of them is taken
decides whether a cell may serve two targets. On the CPU ``_settle`` gives the reference's answer; elsewhere the first
in candidate order is taken, which is as good as any and waits for nobody. Every shape is known on the host: on a GPU
nothing here synchronises.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from training.assign.candidates import Cells
from training.boxes import box_iou

_IOU_WEIGHT = 3.0


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Every target beside every candidate of its image."""

    candidate: Tensor  # (M, W) int64, any index where not valid
    valid: Tensor  # (M, W) bool, true from the left


@torch.no_grad()
def simota(candidates: Cells, rows: Tensor, *, boxes: Tensor, targets: Tensor, limit: int) -> Cells:
    """Mark the positives among ``candidates`` and give each the target it is trained towards.

    ``rows`` (R, 5+C) raw predictions, ``boxes`` (R, 4) the same decoded to xyxy pixels, ``targets`` (M, 6) image,
    class, x1, y1, x2, y2 in pixels; all float32. ``limit`` is how many of the best overlaps count towards a target's
    number of positives, which is at least one.
    """
    if not len(rows):
        return candidates
    pairs = _pair(candidates.image, targets[:, 0].long(), most=candidates.most)
    iou = box_iou(targets[:, None, 2:], boxes[pairs.candidate]).where(pairs.valid, 0)
    cost = _classification_cost(rows, targets[:, 1].long(), pairs.candidate) - _IOU_WEIGHT * (iou + 1e-8).log()
    cost = cost.where(pairs.valid, torch.inf)
    limit = min(limit, candidates.most)
    taken = _cheapest(cost, pairs.valid, k=_dynamic_k(iou, limit), limit=limit)
    return _resolve(candidates, pairs, cost=cost, taken=taken)


def _pair(candidate_image: Tensor, target_image: Tensor, *, most: int) -> _Pairs:
    order = candidate_image.argsort(stable=True)
    ordered = candidate_image[order]
    first = torch.searchsorted(ordered, target_image)
    count = torch.searchsorted(ordered, target_image, right=True) - first
    columns = torch.arange(most, device=order.device)
    return _Pairs(order[(first[:, None] + columns).clamp(max=len(order) - 1)], columns < count[:, None])


def _classification_cost(rows: Tensor, classes: Tensor, candidate: Tensor) -> Tensor:
    """Cross-entropy of y = sqrt(class × objectness) against each target's one-hot class, summed over classes: (M, W).

    -ln(1 - y) is summed once per candidate; only the term of the target's own class depends on the target.
    """
    log_y = (logsigmoid(rows[:, 5:]) + logsigmoid(rows[:, 4:5])) / 2  # (R, C)
    absent = -torch.log1p(-log_y.exp().clamp(max=1 - 2**-24))  # a saturated prediction stays finite
    return absent.sum(dim=1)[candidate] - (log_y + absent)[candidate, classes[:, None]]


def _dynamic_k(iou: Tensor, limit: int) -> Tensor:
    best = iou.topk(limit, dim=1, sorted=False).values
    return best.sum(dim=1).long().clamp(min=1, max=limit)  # (M,)


def _cheapest(cost: Tensor, valid: Tensor, *, k: Tensor, limit: int) -> Tensor:
    """Mark the ``k`` lowest valid costs of each row, none of which wants more than ``limit``: (M, W) bool."""
    taken, tied = _first_cheapest(cost, valid, k=k, limit=limit)
    if cost.device.type == "cpu":
        for row in tied.nonzero()[:, 0].tolist():
            taken[row] = False
            taken[row, _settle(cost[row, valid[row]], int(k[row]))] = True
    return taken


def _first_cheapest(cost: Tensor, valid: Tensor, *, k: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The same with the first among equals, (M, W) bool; and which rows had to choose among equals, (M,) bool."""
    bound = cost.topk(limit, dim=1, largest=False).values.gather(1, k[:, None] - 1)  # (M, 1)
    below, equal = cost < bound, (cost == bound) & valid
    room = k[:, None] - below.sum(dim=1, keepdim=True)
    taken = below | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return taken, equal.sum(dim=1) > room[:, 0]


def _settle(cost: Tensor, k: int) -> Tensor:
    """Choose ``k`` where equal costs leave more than k: about one target in a hundred.

    ``topk`` on the CPU, over this target's own candidates and for its own k, is what the reference does. Its choice
    among equals depends on all three, so this one step is not batched.
    """
    return cost.topk(k, largest=False).indices


def _resolve(candidates: Cells, pairs: _Pairs, *, cost: Tensor, taken: Tensor) -> Cells:
    """Give a candidate that several targets took to the target of its image for which it costs least."""
    count, index = len(candidates.target), pairs.candidate.flatten()
    takers = torch.zeros(count, dtype=torch.int64, device=cost.device).scatter_add_(0, index, taken.flatten().long())
    least = cost.new_full((count,), torch.inf).scatter_reduce_(0, index, cost.flatten(), "amin")
    owns = torch.where((takers > 1)[pairs.candidate], cost == least[pairs.candidate], taken)
    number = torch.arange(len(cost), device=cost.device)[:, None].where(owns, len(cost))
    owner = torch.full_like(takers, len(cost)).scatter_reduce_(0, index, number.flatten(), "amin")
    positive = takers > 0
    return replace(candidates, target=owner.where(positive, candidates.target), positive=positive)
