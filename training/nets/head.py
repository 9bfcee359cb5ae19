"""Detection heads and the decoding of what they say.

A head is a 1x1 convolution per level; its output is raw logits, always: box (4), objectness, classes. The training head wraps the lead's convolutions in implicit vectors and may carry auxiliary ones;
the deploy head has neither. Heads know nothing of rows; ``decode`` knows nothing of heads.

Letters: B images, A = 3 anchors, C classes, N = Σ A·H·W predictions over the levels, L levels.
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
ANCHOR_VALUES = 4 + 1  # box and objectness; the classes follow


class Implicit(nn.Module):
    """A learned vector that is the same for every image and cell (YOLOR's implicit knowledge)."""

    def __init__(self, channels: int, mean: float) -> None:
        super().__init__()
        self.implicit = nn.Parameter(torch.normal(mean, 0.02, (1, channels, 1, 1)))


class ImplicitConv(nn.Module):
    """``multiplied · conv(x + added)``, both vectors broadcast over batch and cells."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.added = Implicit(conv.in_channels, 0.0)
        self.conv = conv
        self.multiplied = Implicit(conv.out_channels, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.multiplied.implicit * self.conv(x + self.added.implicit)
        return out

    def folded(self) -> nn.Conv2d:
        """The plain convolution that computes the same."""
        return fold_implicit(self.conv, self.added.implicit, self.multiplied.implicit)


class AnchorTables(nn.Module):
    """The anchors in both units of the official checkpoints: cells (L, A, 2) and pixels (L, 1, A, 1, 1, 2)."""

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
        self.num_classes = lead[0].out_channels // ANCHORS_PER_LEVEL - ANCHOR_VALUES
        self.lead = nn.ModuleList(lead)
        self.official: Entry = (("anchors.cells", "anchors"), ("anchors.pixels", "anchor_grid"), ("lead", "m"))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [_per_anchor(conv(x)) for conv, x in zip(self.lead, maps, strict=True)]


class TrainingHead(nn.Module):
    """The lead's convolutions with implicit vectors, and plain ones for the auxiliary levels (none in the P5 models).

    ``forward`` reads the lead's maps, then the auxiliary ones, and answers in that order.
    """

    def __init__(self, anchors: AnchorTables, lead: Sequence[nn.Conv2d], aux: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.anchors = anchors
        self.num_classes = lead[0].out_channels // ANCHORS_PER_LEVEL - ANCHOR_VALUES
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
        return [_per_anchor(conv(x)) for conv, x in zip([*self.lead, *self.aux], maps, strict=True)]

    def folded(self) -> DeployHead:
        """The head without implicit vectors and auxiliary levels."""
        lead = [level.folded() for level in self.lead if isinstance(level, ImplicitConv)]
        return DeployHead(copy.deepcopy(self.anchors), lead)


def head_convolution(in_channels: int, num_classes: int, stride: int) -> nn.Conv2d:
    """A level's 1x1 convolution, its bias a prior: about 8 objects in a 640-pixel image, and each class rare."""
    conv = nn.Conv2d(in_channels, ANCHORS_PER_LEVEL * (ANCHOR_VALUES + num_classes), 1)
    assert conv.bias is not None
    with torch.no_grad():
        bias = conv.bias.view(ANCHORS_PER_LEVEL, -1)
        bias[:, 4] += math.log(8 / (640 / stride) ** 2)
        bias[:, 5:] += math.log(0.6 / (num_classes - 0.99))
    return conv


def cells(raws: Sequence[Tensor], anchors_px: Tensor, strides: Sequence[int]) -> Tensor:
    """What each prediction's logits are relative to: (N, 5) float32 of cell column, cell row, stride, anchor width and height in pixels.

    Order: level, anchor, row, column. The grid is read off the maps' shapes, so that one exported graph serves every image shape.
    """
    tables = []
    for raw, anchors, stride in zip(
        raws, anchors_px, strides, strict=False
    ):  # auxiliary levels follow and are not decoded
        count, height, width = raw.shape[1:4]
        columns = torch.arange(width, device=raw.device, dtype=torch.float32).expand(count, height, width)
        rows = torch.arange(height, device=raw.device, dtype=torch.float32)[:, None].expand(count, height, width)
        sizes = anchors.float()[:, None, None].expand(count, height, width, 2)
        grid = torch.stack([columns, rows, torch.full_like(rows, stride)], -1)
        tables.append(torch.cat([grid, sizes], -1).flatten(0, 2))
    return torch.cat(tables)


def decode_boxes(logits: Tensor, cells: Tensor) -> Tensor:
    """Box logits (..., 4) and their cells (..., 5) to boxes_cxcywh (..., 4) in image pixels.

    Centre (2σ − 0.5 + cell)·stride, size (2σ)²·anchor: a box may leave its cell by half a cell, and be up to 4 times its anchor.
    """
    unit = logits.sigmoid() * 2
    centre = (unit[..., :2] - 0.5 + cells[..., :2]) * cells[..., 2:3]
    return torch.cat([centre, unit[..., 2:].square() * cells[..., 3:]], -1)


def decode(raws: Sequence[Tensor], anchors_px: Tensor, strides: Sequence[int]) -> Tensor:
    """Raw logits of the lead levels, (B, A, H, W, 5+C) each, to (B, N, 5+C): boxes_cxcywh in image pixels, objectness and class probabilities.

    Rows lie in the order of ``cells``; auxiliary levels after the lead are ignored.
    """
    logits = flatten_levels(raws[: len(strides)])
    boxes = decode_boxes(logits[..., :4], cells(raws, anchors_px, strides))
    return torch.cat([boxes, logits[..., 4:].sigmoid()], -1)


def flatten_levels(raws: Sequence[Tensor]) -> Tensor:
    """Raw logits (B, A, H, W, 5+C) of every level to (B, N, 5+C)."""
    return torch.cat([raw.flatten(1, 3) for raw in raws], 1)


def _per_anchor(out: Tensor) -> Tensor:
    """(B, A·(5+C), H, W) -> (B, A, H, W, 5+C)."""
    return out.unflatten(1, (ANCHORS_PER_LEVEL, -1)).permute(0, 1, 3, 4, 2)
