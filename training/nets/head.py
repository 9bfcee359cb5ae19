"""Detection heads, and the decoding of what they say.

A head is a 1x1 convolution per level and answers raw logits, always: box (4), objectness, classes. The training head
wraps the lead's convolutions in implicit vectors and may carry auxiliary ones; the deploy head has neither. Heads know
nothing of rows, and decoding knows nothing of heads.

Letters: B images, A = 3 anchors, C classes, L levels, H and W a level's height and width in cells, N = Σ A·H·W
predictions over the levels.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.nets.blocks import Entry
from training.nets.reparam import fold_implicit
from training.nets.variants import Anchors

ANCHORS_PER_LEVEL = 3
BOX_AND_OBJECTNESS = 5  # logits before those of the classes


class Implicit(nn.Module):
    """A learned vector, the same for every image and cell (YOLOR's implicit knowledge)."""

    def __init__(self, channels: int, mean: float) -> None:
        super().__init__()
        self.implicit = nn.Parameter(nn.init.normal_(torch.empty(1, channels, 1, 1), mean, 0.02))


class ImplicitConv(nn.Module):
    """One level of the training head's lead: ``multiplied · conv(x + added)``."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.added = Implicit(conv.in_channels, 0.0)
        self.conv = conv
        self.multiplied = Implicit(conv.out_channels, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H, W)."""
        out: Tensor = self.multiplied.implicit * self.conv(x + self.added.implicit)
        return out

    def folded(self) -> nn.Conv2d:
        """The plain convolution that computes the same."""
        return fold_implicit(self.conv, self.added.implicit, self.multiplied.implicit)


class AnchorTables(nn.Module):
    """The anchors in both units of official checkpoints: cells (L, A, 2) and pixels (L, 1, A, 1, 1, 2)."""

    cells: Tensor
    pixels: Tensor

    def __init__(self, anchors: Anchors, strides: tuple[int, ...]) -> None:
        super().__init__()
        pixels = torch.tensor(anchors, dtype=torch.float32)
        self.register_buffer("cells", pixels / torch.tensor(strides).view(-1, 1, 1))
        self.register_buffer("pixels", pixels.view(len(strides), 1, -1, 1, 1, 2))


class DeployHead(nn.Module):
    """One 1x1 convolution per level."""

    def __init__(self, anchors: AnchorTables, lead: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.anchors = anchors
        self.num_classes = _num_classes(lead[0])
        self.lead = nn.ModuleList(lead)
        self.official: Entry = (("anchors.cells", "anchors"), ("anchors.pixels", "anchor_grid"), ("lead", "m"))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, ·, H, W) per level -> (B, A, H, W, 5+C) per level."""
        return [_per_anchor(conv(x)) for conv, x in zip(self.lead, maps, strict=True)]


class TrainingHead(nn.Module):
    """The lead's convolutions in implicit vectors, and plain ones for the auxiliary levels (none in the P5 models)."""

    def __init__(self, anchors: AnchorTables, lead: Sequence[nn.Conv2d], aux: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.anchors = anchors
        self.num_classes = _num_classes(lead[0])
        self.lead = nn.ModuleList(ImplicitConv(conv) for conv in lead)
        self.aux = nn.ModuleList(aux)
        levels = range(len(lead))
        self.official: Entry = (
            ("anchors.cells", "anchors"),
            ("anchors.pixels", "anchor_grid"),
            *((f"lead.{i}.conv", f"m.{i}") for i in levels),
            ("aux", "m2"),
            *((f"lead.{i}.added", f"ia.{i}") for i in levels),
            *((f"lead.{i}.multiplied", f"im.{i}") for i in levels),
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, ·, H, W) per level, the lead's first, then the auxiliary ones -> (B, A, H, W, 5+C) in that order."""
        return [_per_anchor(conv(x)) for conv, x in zip([*self.lead, *self.aux], maps, strict=True)]

    def folded(self) -> DeployHead:
        """The lead without implicit vectors, computing the same; no auxiliary levels."""
        lead = [level.folded() for level in self.lead if isinstance(level, ImplicitConv)]
        return DeployHead(copy.deepcopy(self.anchors), lead)


def head_convolution(in_channels: int, num_classes: int, stride: int) -> nn.Conv2d:
    """A level's 1x1 convolution, its bias a prior: about 8 objects in an image of 640 pixels, each class rare."""
    conv = nn.Conv2d(in_channels, ANCHORS_PER_LEVEL * (BOX_AND_OBJECTNESS + num_classes), 1)
    assert conv.bias is not None
    with torch.no_grad():
        bias = conv.bias.view(ANCHORS_PER_LEVEL, -1)
        bias[:, 4] += math.log(8 / (640 / stride) ** 2)
        bias[:, BOX_AND_OBJECTNESS:] += math.log(0.6 / (num_classes - 0.99))
    return conv


def flatten_levels(raws: Sequence[Tensor]) -> Tensor:
    """Raw logits (B, A, H, W, 5+C) of every level to (B, N, 5+C). Order: level, anchor, row, column."""
    return torch.cat([raw.flatten(1, 3) for raw in raws], 1)


def cell_table(raws: Sequence[Tensor], anchors_px: Tensor, strides: Sequence[int]) -> Tensor:
    """What the logits of each prediction are relative to, in the order of ``flatten_levels``.

    (N, 5) float32: the cell's column and row, its stride, the anchor's width and height in pixels. Only the shapes of
    ``raws`` are read, so that one exported graph serves every image shape.
    """
    tables = []
    for raw, anchors, stride in zip(raws, anchors_px.float(), strides, strict=True):
        count, height, width = raw.shape[1:4]
        columns = torch.arange(width, device=raw.device).float().expand(count, height, width)
        rows = torch.arange(height, device=raw.device).float()[:, None].expand(count, height, width)
        cells = torch.stack([columns, rows, torch.full_like(rows, stride)], -1)
        sizes = anchors[:, None, None].expand(count, height, width, 2)
        tables.append(torch.cat([cells, sizes], -1).flatten(0, 2))
    return torch.cat(tables)


def decode_boxes(logits: Tensor, cells: Tensor) -> Tensor:
    """Box logits (..., 4) and their rows of ``cell_table`` (..., 5) to boxes_cxcywh (..., 4) in pixels of the image.

    Centre (2σ − 0.5 + cell)·stride, size (2σ)²·anchor: a centre may leave its cell by half a cell, and no side is
    longer than four times the anchor's.
    """
    unit = logits.sigmoid() * 2
    centre = (unit[..., :2] - 0.5 + cells[..., :2]) * cells[..., 2:3]
    return torch.cat([centre, unit[..., 2:].square() * cells[..., 3:]], -1)


def decode(raws: Sequence[Tensor], anchors_px: Tensor, strides: Sequence[int]) -> Tensor:
    """Raw logits of the lead, (B, A, H, W, 5+C) per level, to predictions (B, N, 5+C).

    A prediction is a boxes_cxcywh row in pixels of the image, then objectness and class probabilities. ``anchors_px``
    is (L, A, 2). Auxiliary levels behind the lead's are ignored.
    """
    lead = raws[: len(strides)]
    logits = flatten_levels(lead)
    boxes = decode_boxes(logits[..., :4], cell_table(lead, anchors_px, strides))
    return torch.cat([boxes, logits[..., 4:].sigmoid()], -1)


def _num_classes(conv: nn.Conv2d) -> int:
    return conv.out_channels // ANCHORS_PER_LEVEL - BOX_AND_OBJECTNESS


def _per_anchor(out: Tensor) -> Tensor:
    """(B, A·(5+C), H, W) -> (B, A, H, W, 5+C)."""
    batch, channels, height, width = out.shape
    split = out.view(batch, ANCHORS_PER_LEVEL, channels // ANCHORS_PER_LEVEL, height, width)
    return split.permute(0, 1, 3, 4, 2)
