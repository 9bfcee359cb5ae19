"""Guided assignment (Wang, Bochkovskiy, Liao, CVPR 2023, section 4.2, figure 5).

Predictions decide which candidates a head learns from. The paper's method is lead-guided: the lead head's predictions
decide for every head. With auxiliary heads it is coarse-to-fine: the lead learns from fine candidates (few neighbouring
cells), the auxiliary head from coarse ones (more of them), and the lead's predictions choose among both. Auxiliary
predictions enter only the loss; an auxiliary head that guides itself is the "independent" of table 6.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.assign.candidates import Cells, Pyramid
from training.assign.simota import simota
from training.boxes import cxcywh_to_xyxy

# How many of the best overlaps count towards a target's number of positives. A network with auxiliary heads uses the
# larger limit for both heads.
LIMIT, LIMIT_WITH_AUXILIARY = 10, 20


@torch.no_grad()
def assign_guided(
    candidates: Cells, guide: Sequence[Tensor], *, targets: Tensor, pyramid: Pyramid, limit: int
) -> Cells:
    """Mark the positives among ``candidates`` as SimOTA chooses them by the predictions of ``guide``.

    ``guide``: a head's raw logits, one (B, A, H, W, 5+C) tensor a level. ``targets``: (M, 6) float32 image, class, cx,
    cy, w, h, normalised. All lies on one device.
    """
    image_wh = pyramid.sizes[0] * pyramid.strides[0]
    targets_px = torch.cat((targets[:, :2], cxcywh_to_xyxy(targets[:, 2:] * image_wh.repeat(2))), dim=1)
    rows = candidates.rows(guide)
    boxes_cxcywh = candidates.boxes(rows, pyramid)  # in cells
    boxes_cxcywh[:, :2] += candidates.corner
    boxes = cxcywh_to_xyxy(boxes_cxcywh * pyramid.strides[candidates.level, None])
    return simota(candidates, rows, boxes=boxes, targets=targets_px, limit=limit)
