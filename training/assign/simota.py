"""SimOTA (Ge et al., YOLOX, 2021, section 2.1): each target takes as many of its image's candidates as predictions already overlap it, the cheapest first.

Letters: M targets, R candidates, W the most candidates an image has, C classes. The matching is one (M, W) table for the whole batch: a row per target, a column per
candidate of its image. Candidates are pooled over all levels, and one may serve any target of its image, not only the one it was found for. Equal costs go to the
earlier candidate (or target), so the answer is the same on every device; candidates that repeat a cell make such ties common.
"""

from dataclasses import dataclass

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
    valid: Tensor  # (M, W) bool


@torch.no_grad()
def simota(candidates: Cells, rows: Tensor, *, boxes: Tensor, targets: Tensor, limit: int) -> Cells:
    """Choose the positives among ``candidates``: a subset, each with the target it is trained towards.

    ``rows`` (R, 5+C) raw predictions, ``boxes`` (R, 4) the same decoded to xyxy pixels, ``targets`` (M, 6) image, class, x1, y1, x2, y2 in pixels; float32.
    ``limit`` is how many of the best overlaps count towards a target's number of positives, which is at least one.
    """
    if not len(rows):
        return candidates
    pairs = _pair(candidates.image, targets[:, 0].long())
    iou = box_iou(targets[:, None, 2:], boxes[pairs.candidate]).where(pairs.valid, 0)
    cost = _classification_cost(rows, targets[:, 1].long(), pairs.candidate) - _IOU_WEIGHT * (iou + 1e-8).log()
    cost = cost.where(pairs.valid, torch.inf)
    taken = _cheapest(cost, _dynamic_k(iou, limit)) & pairs.valid
    return _resolve(candidates, pairs, cost, taken)


def _pair(candidate_image: Tensor, target_image: Tensor) -> _Pairs:
    order = candidate_image.argsort(stable=True)
    ordered = candidate_image[order]
    first = torch.searchsorted(ordered, target_image)
    count = torch.searchsorted(ordered, target_image, right=True) - first
    slots = torch.arange(int(count.max()), device=order.device)
    return _Pairs(order[(first[:, None] + slots).clamp(max=len(order) - 1)], slots < count[:, None])


def _classification_cost(rows: Tensor, classes: Tensor, candidate: Tensor) -> Tensor:
    """Binary cross-entropy of y = sqrt(class × objectness) against the one-hot class of each target, summed over classes: (M, W).

    -ln(1 - y) is summed once per candidate; only the term of the target's own class depends on the target.
    """
    log_y = (logsigmoid(rows[:, 5:]) + logsigmoid(rows[:, 4:5])) / 2  # (R, C)
    absent = -torch.log1p(-log_y.exp().clamp(max=1 - 2**-24))  # a saturated prediction stays finite
    return absent.sum(dim=1)[candidate] - (log_y + absent)[candidate, classes[:, None]]


def _dynamic_k(iou: Tensor, limit: int) -> Tensor:
    best = iou.topk(min(limit, iou.shape[1]), dim=1, sorted=False).values
    return best.sum(dim=1).long().clamp(min=1, max=best.shape[1])  # (M,)


def _cheapest(cost: Tensor, k: Tensor) -> Tensor:
    """Mark the ``k`` lowest costs of each row; among equals the leftmost, which topk alone would leave open."""
    if not cost.shape[1]:
        return torch.zeros_like(cost, dtype=torch.bool)
    bound = cost.topk(int(k.max()), dim=1, largest=False).values.gather(1, k[:, None] - 1)  # (M, 1)
    cheaper, equal = cost < bound, cost == bound
    return cheaper | (equal & (equal.cumsum(dim=1) <= k[:, None] - cheaper.sum(dim=1, keepdim=True)))


def _resolve(candidates: Cells, pairs: _Pairs, cost: Tensor, taken: Tensor) -> Cells:
    """Give a candidate that several targets took to the target of its image for which it costs least."""
    count, index = len(candidates.target), pairs.candidate.flatten()
    takers = torch.zeros(count, dtype=torch.int64, device=cost.device).scatter_add_(0, index, taken.flatten().long())
    least = cost.new_full((count,), torch.inf).scatter_reduce_(0, index, cost.flatten(), "amin")
    owns = torch.where((takers > 1)[pairs.candidate], (cost == least[pairs.candidate]) & pairs.valid, taken)
    number = torch.arange(len(cost), device=cost.device)[:, None].where(owns, len(cost))
    owner = torch.full_like(takers, len(cost)).scatter_reduce_(0, index, number.flatten(), "amin")
    kept = takers.nonzero()[:, 0]
    return candidates.select(kept, owner[kept])
