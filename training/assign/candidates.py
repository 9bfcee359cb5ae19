"""Prediction cells that may be trained towards a target: anchors of similar shape in the nearest cells.

All levels, anchors and targets are searched in one pass. Nothing here looks at predictions; ``Cells`` only knows how to
gather and decode those of its cells.

Letters: B images, L levels, A anchors a level, H and W cells of a level, C classes, M targets in the batch, R cells
found. Targets are (M, 6) float32 rows image, class, cx, cy, w, h, normalised to 0–1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# How far a neighbouring cell may lie from a target's centre, in cells (section 4.2, figure 5). Fine: the own cell and
# up to two neighbours. Coarse: the own cell and up to four.
FINE_REACH = 0.5
COARSE_REACH = 1.0

# Where a centre is pushed to find its cells: nowhere, left, up, right, down.
_PUSHES = ((0.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The prediction grids of one batch."""

    sizes: Tensor  # (L, 2) float32, width and height in cells
    anchors: Tensor  # (L, A, 2) float32, width and height in cells
    strides: Tensor  # (L,) float32, pixels a cell

    @classmethod
    def of(cls, image_hw: tuple[int, int], *, anchors_px: Tensor, strides: Tensor) -> "Pyramid":
        """Describe the grids of images of ``image_hw`` pixels, a multiple of every stride."""
        image_wh = strides.new_tensor(image_hw[::-1])
        return cls(image_wh / strides[:, None], anchors_px / strides[:, None, None], strides)


@dataclass(frozen=True, slots=True)
class Cells:
    """Prediction cells over all levels, by level, then in candidate order, each paired with a target.

    A cell may occur more than once.
    """

    level: Tensor  # (R,) int64, ascending
    position: Tensor  # (4, R) int64: image, anchor, row, column
    target: Tensor  # (R,) int64, row of the batch's targets
    per_level: tuple[int, ...]  # how many of the R cells lie on each level

    @property
    def image(self) -> Tensor:
        """Index of the image in the batch, (R,) int64."""
        return self.position[0]

    @property
    def corner(self) -> Tensor:
        """Upper left corner of the cell in cells, (R, 2) float32 x, y."""
        return self.position[[3, 2]].T.float()

    def rows(self, outputs: Sequence[Tensor]) -> Tensor:
        """Gather raw predictions, (R, 5+C) float32, from ``outputs``, one (B, A, H, W, 5+C) tensor a level."""
        parts = self.position.split_with_sizes(self.per_level, dim=1)
        return torch.cat([output[tuple(part)] for output, part in zip(outputs, parts, strict=True)]).float()

    def boxes(self, rows: Tensor, pyramid: Pyramid) -> Tensor:
        """Decode ``rows`` (R, 5+C) to (R, 4) cx, cy, w, h in cells, the centre relative to the corner (-0.5 to 1.5)."""
        centre, size = (2 * rows[:, :4].sigmoid()).split_with_sizes((2, 2), dim=1)
        return torch.cat((centre - 0.5, size.square() * pyramid.anchors[self.level, self.position[1]]), dim=1)

    def select(self, kept: Tensor, target: Tensor) -> "Cells":
        """Keep the cells at ``kept`` (ascending indices) and pair them with ``target``."""
        level = self.level[kept]
        return Cells(level, self.position[:, kept], target, _count(level, len(self.per_level)))


@torch.no_grad()
def find_candidates(targets: Tensor, pyramid: Pyramid, *, threshold: float, reach: float) -> Cells:
    """Return every cell whose anchor is within a factor ``threshold`` of a target's width and of its height.

    The cell is the target's own or a neighbour within ``reach`` of its centre. Candidate order on a level: own cells
    first, then left, upper, right and lower neighbours; within each by anchor, then by target.
    """
    sizes = pyramid.sizes[:, None]  # (L, 1, 2)
    centres, extents = targets[:, 2:4] * sizes, targets[:, 4:6] * sizes  # (L, M, 2)
    ratios = extents[:, None] / pyramid.anchors[:, :, None]  # (L, A, M, 2)
    similar = torch.maximum(ratios, 1 / ratios).amax(dim=-1) < threshold
    low, high = (((edge % 1 < reach) & (edge > 1)).unbind(dim=-1) for edge in (centres, sizes - centres))
    near = torch.stack((torch.ones_like(low[0]), *low, *high), dim=1)  # (L, 5, M)
    level, push, anchor, target = (near[:, :, None] & similar[:, None]).nonzero(as_tuple=True)
    cell = (centres[level, target] + reach * centres.new_tensor(_PUSHES)[push]).long()
    column, row = cell.clamp(min=0).minimum(pyramid.sizes.long()[level] - 1).unbind(dim=1)
    position = torch.stack((targets[target, 0].long(), anchor, row, column))
    return Cells(level, position, target, _count(level, len(pyramid.sizes)))


def _count(level: Tensor, levels: int) -> tuple[int, ...]:
    return tuple(torch.bincount(level, minlength=levels).tolist())
