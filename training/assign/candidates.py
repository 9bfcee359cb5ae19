"""Prediction cells that may be trained towards a target: anchors of similar shape in the nearest cells.

All levels, anchors and targets are searched in one pass. Nothing here looks at predictions; ``Cells`` only knows how to
gather and decode those of its cells.

How many candidates there are depends on the targets alone, and those come from the host: searched there, while the
device still computes its predictions, the result goes over with its sizes known and the device is never waited for.

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

    def to(self, device: torch.device) -> "Pyramid":
        """The same on another device."""
        return Pyramid(send(self.sizes, device), send(self.anchors, device), send(self.strides, device))


@dataclass(frozen=True, slots=True)
class Cells:
    """Prediction cells over all levels, by level, then in candidate order, each paired with a target.

    A cell may occur more than once. What was found stays in the table when positives are chosen; those are marked.
    """

    level: Tensor  # (R,) int64, ascending
    position: Tensor  # (4, R) int64: image, anchor, row, column
    target: Tensor  # (R,) int64, row of the batch's targets
    positive: Tensor  # (R,) bool, whether the cell is trained towards its target
    per_level: tuple[int, ...]  # how many of the R cells lie on each level
    most: int  # how many of the R cells the image with most of them has

    @property
    def image(self) -> Tensor:
        """Index of the image in the batch, (R,) int64."""
        return self.position[0]

    @property
    def corner(self) -> Tensor:
        """Upper left corner of the cell in cells, (R, 2) float32 x, y."""
        return torch.stack((self.position[3], self.position[2]), dim=1).float()

    def to(self, device: torch.device) -> "Cells":
        """The same on another device."""
        level, position, target, positive = (
            send(part, device) for part in (self.level, self.position, self.target, self.positive)
        )
        return Cells(level, position, target, positive, self.per_level, self.most)

    def count(self) -> Tensor:
        """How many positives each level has, (L,) float32."""
        counts = torch.zeros(len(self.per_level), device=self.level.device)
        return counts.index_add_(0, self.level, self.positive.float())

    def rows(self, outputs: Sequence[Tensor]) -> Tensor:
        """Gather raw predictions, (R, 5+C) float32, from ``outputs``, one (B, A, H, W, 5+C) tensor a level."""
        parts = self.position.split_with_sizes(self.per_level, dim=1)
        return torch.cat([output[tuple(part)] for output, part in zip(outputs, parts, strict=True)]).float()

    def boxes(self, rows: Tensor, pyramid: Pyramid, *, reach: float = FINE_REACH) -> Tensor:
        """Decode ``rows`` (R, 5+C) to (R, 4) cx, cy, w, h in cells, the centre relative to the corner.

        A centre may leave its cell by ``reach``: by half a cell (-0.5 to 1.5) wherever boxes are served.
        """
        unit = rows[:, :4].sigmoid()
        centre, size = unit.split_with_sizes((2, 2), dim=1)
        anchors = pyramid.anchors[self.level, self.position[1]]
        return torch.cat(((1 + 2 * reach) * centre - reach, (2 * size).square() * anchors), dim=1)


@torch.no_grad()
def find_candidates(targets: Tensor, pyramid: Pyramid, *, threshold: float, reach: float) -> Cells:
    """Return every cell whose anchor is within a factor ``threshold`` of a target's width and of its height.

    The cell is the target's own or a neighbour within ``reach`` of its centre. Candidate order on a level: own cells
    first, then left, upper, right and lower neighbours; within each by anchor, then by target. All are positives until
    somebody chooses. ``targets`` and ``pyramid`` belong on the host: anywhere else the device is waited for.
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
    per_level = tuple(torch.bincount(level, minlength=len(pyramid.sizes)).tolist())
    most = int(torch.bincount(position[0], minlength=1).max())
    return Cells(level, position, target, torch.ones_like(level, dtype=torch.bool), per_level, most)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The same on another device. From the host to a GPU it goes through pinned memory and nobody waits."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
