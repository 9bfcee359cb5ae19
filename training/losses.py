"""The criterion: raw predictions and targets in, three named loss terms out. Weights meet them in the loop.

One criterion serves all uses: SimOTA, plain (every candidate is a positive, which is cheaper) and, when the outputs
hold auxiliary levels, coarse-to-fine with the auxiliary terms folded in. It does not know the network, and
computes in float32 whatever autocast is on: what it takes from the outputs becomes float32 at once, and it uses no
operation that autocast would narrow.

Two departures from the reference: the number of positives of a level is a tensor made in one place (``_positives``), so
that N processes can share it; and where one cell has two owners, the objectness target is that of the last in candidate
order on every device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.assign import COARSE_REACH, FINE_REACH, Cells, Pyramid, assign_lead_guided, find_candidates
from training.boxes import complete_iou
from training.config import Loss

# How much each level's objectness counts: fine levels have many cells and few positives.
_BALANCE_3, _BALANCE_OTHER = (4.0, 1.0, 0.4), (4.0, 1.0, 0.25, 0.06, 0.02)
_FOCAL_ALPHA = 0.25


def scaled_weights(loss: Loss, *, num_levels: int, num_classes: int, image_size: int) -> dict[str, float]:
    """Scale the recipe's gains, stated for 3 levels, 80 classes and 640 pixels, to this model."""
    levels = 3 / num_levels
    return {
        "box": loss.box * levels,
        "objectness": loss.objectness * (image_size / 640) ** 2 * levels,
        "classification": loss.classification * num_classes / 80 * levels,
    }


class Criterion(nn.Module):
    """Box (1 - complete IoU), objectness and classification (binary cross-entropy), each summed over levels.

    The training loss is the sum of ``weights[name] * terms[name]``, times the batch size.
    """

    anchors_px: Tensor
    strides: Tensor

    def __init__(
        self, loss: Loss, *, num_classes: int, strides: Sequence[int], anchors_px: Tensor, image_size: int = 640
    ) -> None:
        """``anchors_px`` is (levels, anchors, 2) width and height in pixels."""
        super().__init__()
        self.loss = loss
        self.num_classes = num_classes
        self.weights = scaled_weights(loss, num_levels=len(strides), num_classes=num_classes, image_size=image_size)
        strides_px = torch.tensor(strides, dtype=torch.float32, device=anchors_px.device)
        self.register_buffer("anchors_px", anchors_px.detach().float().clone(), persistent=False)
        self.register_buffer("strides", strides_px, persistent=False)

    def forward(self, outputs: Sequence[Tensor], targets: Tensor, image_hw: tuple[int, int]) -> dict[str, Tensor]:
        """Return {"box", "objectness", "classification"}, unweighted float32 scalars.

        ``outputs``: raw logits, one (B, A, H, W, 5+C) tensor a level, lead levels first, then auxiliary levels if any.
        ``targets``: (M, 6) image, class, cx, cy, w, h, normalised 0–1; M may be 0. ``image_hw``: input size in pixels.
        """
        levels = len(self.strides)
        heads = [outputs[start : start + levels] for start in range(0, len(outputs), levels)]  # lead, auxiliary
        pyramid = Pyramid.of(image_hw, anchors_px=self.anchors_px, strides=self.strides)
        positives = self._assign(heads, targets, pyramid)
        terms = [
            self._terms(head, cells, targets=targets, pyramid=pyramid)
            for head, cells in zip(heads, positives, strict=True)
        ]
        if len(terms) == 1:
            return terms[0]
        lead, auxiliary = terms
        return {name: lead[name] + self.loss.auxiliary * auxiliary[name] for name in lead}

    def _assign(self, heads: Sequence[Sequence[Tensor]], targets: Tensor, pyramid: Pyramid) -> list[Cells]:
        threshold, reaches = self.loss.anchor_threshold, (FINE_REACH, COARSE_REACH)[: len(heads)]
        candidates = [find_candidates(targets, pyramid, threshold=threshold, reach=reach) for reach in reaches]
        if self.loss.assigner == "plain":
            return candidates
        return assign_lead_guided(candidates, heads[0], targets=targets, pyramid=pyramid)

    def _terms(
        self, outputs: Sequence[Tensor], positives: Cells, *, targets: Tensor, pyramid: Pyramid
    ) -> dict[str, Tensor]:
        rows = positives.rows(outputs)  # (R, 5+C)
        truth = targets[positives.target]
        boxes = truth[:, 2:] * pyramid.sizes[positives.level].repeat(1, 2)
        boxes[:, :2] -= positives.corner
        overlap = complete_iou(positives.boxes(rows, pyramid), boxes)  # (R,)
        share = 1 / _positives(positives)[positives.level]  # the weight of a row in its level's mean
        return {
            "box": ((1 - overlap) * share).sum(),
            "objectness": self._objectness(outputs, positives, overlap.detach().clamp(min=0)),
            "classification": self._classification(rows[:, 5:], truth[:, 1].long(), share),
        }

    def _objectness(self, outputs: Sequence[Tensor], positives: Cells, overlap: Tensor) -> Tensor:
        total = overlap.new_zeros(())
        positions = positives.position.split_with_sizes(positives.per_level, dim=1)
        overlaps = overlap.split_with_sizes(positives.per_level)
        balances = _BALANCE_3 if len(outputs) == 3 else _BALANCE_OTHER[: len(outputs)]
        for output, balance, position, value in zip(outputs, balances, positions, overlaps, strict=True):
            logits = output[..., 4].float()
            wanted = _last_owner(value, position, shape=logits.shape)
            total = total + balance * self._cross_entropy(logits, wanted).mean()
        return total

    def _classification(self, logits: Tensor, classes: Tensor, share: Tensor) -> Tensor:
        if self.num_classes == 1:  # objectness says it all
            return share.new_zeros(())
        smoothing = 0.5 * self.loss.label_smoothing
        wanted = torch.full_like(logits, smoothing).scatter_(1, classes[:, None], 1 - smoothing)
        return (self._cross_entropy(logits, wanted).mean(dim=1) * share).sum()

    def _cross_entropy(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Binary cross-entropy of each element, times the focal factor (Lin et al., ICCV 2017) of the recipe."""
        entropy = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if not self.loss.focal_gamma:
            return entropy
        probability = logits.sigmoid()
        agreement = wanted * probability + (1 - wanted) * (1 - probability)
        alpha = wanted * _FOCAL_ALPHA + (1 - wanted) * (1 - _FOCAL_ALPHA)
        return entropy * alpha * (1 - agreement) ** self.loss.focal_gamma


def _positives(positives: Cells) -> Tensor:
    """Count the positives of each level, at least one: (L,) float32, what a level's mean divides by."""
    ones = torch.ones_like(positives.level, dtype=torch.float32)
    return ones.new_zeros(len(positives.per_level)).index_add_(0, positives.level, ones).clamp(min=1)


def _last_owner(value: Tensor, position: Tensor, *, shape: torch.Size) -> Tensor:
    """Write ``value`` (R,) at ``position`` (4, R) of a zero map; of several at one cell the last one counts.

    Indexed assignment leaves that open on a GPU, so each row looks up the last row of its cell first.
    """
    _, anchors, height, width = shape
    image, anchor, row, column = position
    cell = ((image * anchors + anchor) * height + row) * width + column
    number = torch.arange(len(value), device=value.device)
    last = torch.zeros(shape.numel(), dtype=torch.int64, device=value.device).scatter_reduce_(0, cell, number, "amax")
    return value.new_zeros(shape.numel()).scatter_(0, cell, value[last[cell]]).view(shape)
