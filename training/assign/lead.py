"""Lead-guided assignment (Wang, Bochkovskiy, Liao, CVPR 2023, section 4.2, figure 5).

The lead head's predictions decide what every head learns. With auxiliary heads it is coarse-to-fine: the lead learns
from fine candidates (few neighbouring cells), the auxiliary head from coarse ones (more of them), and the lead's
predictions choose among both. Auxiliary predictions enter only the loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.assign.candidates import Cells, Pyramid
from training.assign.simota import simota
from training.boxes import cxcywh_to_xyxy

# How many of the best overlaps count towards a target's number of positives. A network with auxiliary heads uses the
# larger limit for both heads.
_LIMIT, _LIMIT_WITH_AUXILIARY = 10, 20


@torch.no_grad()
def assign_lead_guided(
    candidates: Sequence[Cells], outputs: Sequence[Tensor], *, targets: Tensor, pyramid: Pyramid
) -> list[Cells]:
    """Choose each head's positives among its candidates: those of the lead and, if given, of the auxiliary head.

    ``outputs``: the lead's raw logits, one (B, A, H, W, 5+C) tensor a level. ``targets``: (M, 6) float32 image, class,
    cx, cy, w, h, normalised.
    """
    limit = _LIMIT if len(candidates) == 1 else _LIMIT_WITH_AUXILIARY
    image_wh = pyramid.sizes[0] * pyramid.strides[0]
    targets_px = torch.cat((targets[:, :2], cxcywh_to_xyxy(targets[:, 2:] * image_wh.repeat(2))), dim=1)
    positives = []
    for cells in candidates:
        rows = cells.rows(outputs)
        boxes_cxcywh = cells.boxes(rows, pyramid)  # in cells
        boxes_cxcywh[:, :2] += cells.corner
        boxes = cxcywh_to_xyxy(boxes_cxcywh * pyramid.strides[cells.level, None])
        positives.append(simota(cells, rows, boxes=boxes, targets=targets_px, limit=limit))
    return positives
