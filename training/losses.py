"""The criterion: raw predictions and targets in, three named loss terms out. Weights meet them in the loop.

One criterion serves all uses: SimOTA, plain (every candidate is a positive, which is cheaper) and, when the outputs
hold auxiliary levels, coarse-to-fine with the auxiliary terms folded in. It does not know the network, and
computes in float32 whatever autocast is on: what it takes from the outputs becomes float32 at once, and it uses no
operation that autocast would narrow.

Two departures from the reference: the numbers that means divide by are those of all processes together, so that N
processes equal one; and where one cell has two owners, the objectness target is that of the last in candidate order on
every device.

Every shape follows from the targets, and those are read on the host (``assign.candidates``): on a GPU nothing here
waits for the device. Cells that were found but not chosen stay in the tables with weight 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.assign import (
    COARSE_REACH,
    FINE_REACH,
    LIMIT,
    LIMIT_WITH_AUXILIARY,
    Cells,
    Pyramid,
    assign_guided,
    find_candidates,
    send,
)
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


def _alone(counts: Tensor) -> Tensor:
    """What one process counts is all there is."""
    return counts


@dataclass(frozen=True, slots=True)
class _Head:
    """One head's predictions and how it is trained."""

    outputs: Sequence[Tensor]  # one (B, A, H, W, 5+C) tensor a level
    guide: Sequence[Tensor]  # whose predictions choose its positives
    reach: float  # of its candidates, in cells
    decoder_reach: float = FINE_REACH
    weight: float = 1.0


class Criterion(nn.Module):
    """Box (1 - complete IoU), objectness and classification (binary cross-entropy), each summed over levels.

    The training loss is the sum of ``weights[name] * terms[name]``, times the batch size. With several processes the
    terms of all add up to those of the whole batch; a process whose gradients will be averaged over N processes
    multiplies by the size of the whole batch and by N.
    """

    def __init__(
        self,
        loss: Loss,
        *,
        num_classes: int,
        strides: Sequence[int],
        anchors_px: Tensor,
        image_size: int = 640,
        reduce_sum: Callable[[Tensor], Tensor] = _alone,
    ) -> None:
        """``anchors_px`` is (levels, anchors, 2) width and height in pixels.

        ``reduce_sum`` adds a float32 vector up over all processes, called once per batch on the outputs' device.
        """
        super().__init__()
        self.loss = loss
        self.num_classes = num_classes
        self.weights = scaled_weights(loss, num_levels=len(strides), num_classes=num_classes, image_size=image_size)
        self.anchors_px = anchors_px.detach().float().cpu().clone()  # on the host, where candidates are found
        self.strides = torch.tensor(strides, dtype=torch.float32)
        self.reduce_sum = reduce_sum

    def forward(self, outputs: Sequence[Tensor], targets: Tensor, image_hw: tuple[int, int]) -> dict[str, Tensor]:
        """Return {"box", "objectness", "classification"}, unweighted float32 scalars.

        ``outputs``: raw logits, one (B, A, H, W, 5+C) tensor a level, lead levels first, then auxiliary levels if any.
        ``targets``: (M, 6) image, class, cx, cy, w, h, normalised 0–1; M may be 0. They belong on the host: from
        anywhere else they are fetched, which waits for the device. ``image_hw``: input size in pixels.
        """
        device = outputs[0].device
        heads = self._heads(outputs)
        pyramid = Pyramid.of(image_hw, anchors_px=self.anchors_px, strides=self.strides)
        threshold, wanted = self.loss.anchor_threshold, targets.cpu()
        found = [find_candidates(wanted, pyramid, threshold=threshold, reach=head.reach).to(device) for head in heads]
        targets, pyramid = send(targets, device), pyramid.to(device)
        if self.loss.assigner == "ota":
            limit = LIMIT if len(heads) == 1 else LIMIT_WITH_AUXILIARY
            found = [
                assign_guided(cells, head.guide, targets=targets, pyramid=pyramid, limit=limit)
                for cells, head in zip(found, heads, strict=True)
            ]
        images, counts = self._count(found, images=len(outputs[0]))
        total: dict[str, Tensor] = {}
        for head, cells, count in zip(heads, found, counts, strict=True):
            terms = self._terms(head, cells, targets=targets, pyramid=pyramid, counts=(images, count))
            total = {name: total.get(name, 0) + head.weight * term for name, term in terms.items()}
        return total

    def _heads(self, outputs: Sequence[Tensor]) -> list[_Head]:
        """Tell how each head is trained: the lead, and the auxiliary one where there are outputs of it."""
        levels = len(self.strides)
        lead, auxiliary = outputs[:levels], outputs[levels:]
        heads = [_Head(lead, lead, FINE_REACH)]
        if auxiliary:
            guide = auxiliary if self.loss.auxiliary_assigner == "independent" else lead
            reach = COARSE_REACH if self.loss.auxiliary_assigner == "coarse-to-fine" else FINE_REACH
            decoder_reach = FINE_REACH if self.loss.auxiliary_bounded else reach
            heads.append(_Head(auxiliary, guide, reach, decoder_reach, self.loss.auxiliary))
        return heads

    def _count(self, found: Sequence[Cells], *, images: int) -> tuple[Tensor, Tensor]:
        """Add up over all processes: images (), and each head's positives a level (heads, L), at least one."""
        counts = [cells.count() for cells in found]
        total = self.reduce_sum(torch.cat([counts[0].new_full((1,), images), *counts]))
        return total[0], total[1:].clamp(min=1).view(len(counts), -1)

    def _terms(
        self, head: _Head, cells: Cells, *, targets: Tensor, pyramid: Pyramid, counts: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        images, positives = counts
        rows = cells.rows(head.outputs)  # (R, 5+C)
        truth = targets[cells.target]
        boxes = truth[:, 2:] * pyramid.sizes[cells.level].repeat(1, 2)
        boxes[:, :2] -= cells.corner
        overlap = complete_iou(cells.boxes(rows, pyramid, reach=head.decoder_reach), boxes)  # (R,)
        share = cells.positive / positives[cells.level]  # the weight of a row in its level's mean, (R,)
        return {
            "box": ((1 - overlap) * share).sum(),
            "objectness": self._objectness(head.outputs, cells, overlap.detach().clamp(min=0), images=images),
            "classification": self._classification(rows[:, 5:], truth[:, 1].long(), share),
        }

    def _objectness(self, outputs: Sequence[Tensor], cells: Cells, overlap: Tensor, *, images: Tensor) -> Tensor:
        total = overlap.new_zeros(())
        parts = (cells.position, cells.positive, overlap)
        position, positive, value = (part.split_with_sizes(cells.per_level, dim=-1) for part in parts)
        balances = _BALANCE_3 if len(outputs) == 3 else _BALANCE_OTHER[: len(outputs)]
        for i, (output, balance) in enumerate(zip(outputs, balances, strict=True)):
            logits = output[..., 4].float()
            wanted = _last_owner(value[i], position[i], positive[i], shape=logits.shape)
            total = total + balance * self._cross_entropy(logits, wanted).sum() / (images * logits[0].numel())
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


def _last_owner(value: Tensor, position: Tensor, positive: Tensor, *, shape: torch.Size) -> Tensor:
    """Write the positives' ``value`` (R,) at ``position`` (4, R) of a zero map; of several at one cell the last counts.

    Indexed assignment leaves that open on a GPU, so each row looks up the last row of its cell first. What is not
    positive goes to a slot behind the map.
    """
    _, anchors, height, width = shape
    image, anchor, row, column = position
    cell = (((image * anchors + anchor) * height + row) * width + column).where(positive, shape.numel())
    number = torch.arange(len(value), device=value.device)
    slots = shape.numel() + 1
    last = torch.zeros(slots, dtype=torch.int64, device=value.device).scatter_reduce_(0, cell, number, "amax")
    return value.new_zeros(slots).scatter_(0, cell, value[last[cell]])[:-1].view(shape)
