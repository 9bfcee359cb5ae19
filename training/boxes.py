"""Boxes as torch tensors: the two forms the trainer uses, plain IoU and complete IoU.

A function works on any leading shape and keeps the unit it is given (pixels, grid cells or fractions). This module
knows nothing of anchors, images or losses; ``service.vision.boxes`` is its NumPy counterpart where models are served.
"""

import math

import torch
from torch import Tensor

_EPS = 1e-7


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """Turn (..., 4) centre x, centre y, width, height into corners x1, y1, x2, y2."""
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def box_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Intersection over union of corner boxes, (..., 4) against (..., 4), broadcast; 0 for two boxes without area.

    ``box_iou(a[:, None], b)`` gives the full matrix.
    """
    overlap = torch.minimum(boxes_a[..., 2:], boxes_b[..., 2:]) - torch.maximum(boxes_a[..., :2], boxes_b[..., :2])
    intersection = overlap.clamp(min=0).prod(dim=-1)
    area_a = (boxes_a[..., 2:] - boxes_a[..., :2]).prod(dim=-1)
    area_b = (boxes_b[..., 2:] - boxes_b[..., :2]).prod(dim=-1)
    return intersection / (area_a + area_b - intersection).clamp(min=torch.finfo(intersection.dtype).tiny)


def complete_iou(pred_cxcywh: Tensor, target_cxcywh: Tensor) -> Tensor:
    """Complete IoU (Zheng et al., AAAI 2020) of paired centre boxes, (..., 4) and (..., 4); at most 1, maybe negative.

    The trade-off weight alpha carries no gradient, as in that paper. The small constant sits where the reference has
    it: on heights (a second time where they divide), union and diagonal.
    """
    pred, target = cxcywh_to_xyxy(pred_cxcywh), cxcywh_to_xyxy(target_cxcywh)
    low, high = torch.minimum(pred, target), torch.maximum(pred, target)
    intersection = (low[..., 2:] - high[..., :2]).clamp(min=0).prod(dim=-1)
    pred_w, pred_h = pred[..., 2] - pred[..., 0], pred[..., 3] - pred[..., 1] + _EPS
    target_w, target_h = target[..., 2] - target[..., 0], target[..., 3] - target[..., 1] + _EPS
    iou = intersection / (pred_w * pred_h + target_w * target_h - intersection + _EPS)
    diagonal = (high[..., 2:] - low[..., :2]).square().sum(dim=-1) + _EPS
    distance = (target_cxcywh[..., :2] - pred_cxcywh[..., :2]).square().sum(dim=-1)
    tilt = torch.atan(target_w / (target_h + _EPS)) - torch.atan(pred_w / (pred_h + _EPS))
    aspect = (4 / math.pi**2) * tilt.square()
    with torch.no_grad():
        alpha = aspect / (aspect - iou + (1 + _EPS))
    return iou - (distance / diagonal + alpha * aspect)
