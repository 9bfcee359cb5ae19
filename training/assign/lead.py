"""Lead-guided assignment (Wang, Bochkovskiy, Liao, CVPR 2023, section 4.2, figure 5): the lead head's predictions decide what every head learns.

With auxiliary heads it is coarse-to-fine: the lead head learns a fine label (few neighbouring cells), the auxiliary head a coarse one (more of them), and both are chosen by
the lead's predictions. Auxiliary predictions enter only the loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.assign.candidates import COARSE_REACH, FINE_REACH, Cells, Pyramid, find_candidates
from training.assign.simota import simota
from training.boxes import cxcywh_to_xyxy

# How many of the best overlaps count towards a target's number of positives; with auxiliary heads the larger limit holds for both labels.
_LIMIT, _LIMIT_WITH_AUXILIARY = 10, 20


@torch.no_grad()
def assign_lead_guided(
    outputs: Sequence[Tensor], targets: Tensor, pyramid: Pyramid, *, threshold: float, auxiliary: bool
) -> tuple[Cells, ...]:
    """Return the lead head's positives and, if ``auxiliary``, the auxiliary head's.

    ``outputs``: the lead's raw logits, one (B, A, H, W, 5+C) tensor a level. ``targets``: (M, 6) float32 image, class, cx, cy, w, h, normalised.
    """
    limit = _LIMIT_WITH_AUXILIARY if auxiliary else _LIMIT
    reaches = (FINE_REACH, COARSE_REACH) if auxiliary else (FINE_REACH,)
    image_wh = pyramid.sizes[0] * pyramid.strides[0]
    targets_px = torch.cat((targets[:, :2], cxcywh_to_xyxy(targets[:, 2:] * image_wh.repeat(2))), dim=1)
    return tuple(
        _choose(
            find_candidates(targets, pyramid, threshold=threshold, reach=reach),
            outputs,
            pyramid,
            targets_px=targets_px,
            limit=limit,
        )
        for reach in reaches
    )


def _choose(candidates: Cells, outputs: Sequence[Tensor], pyramid: Pyramid, *, targets_px: Tensor, limit: int) -> Cells:
    rows = candidates.rows(outputs)
    boxes = candidates.boxes(rows, pyramid)
    boxes[:, :2] += candidates.corner
    boxes_px = cxcywh_to_xyxy(boxes * pyramid.strides[candidates.level, None])
    return simota(candidates, rows, boxes=boxes_px, targets=targets_px, limit=limit)
