"""Spatial pyramid pooling: the map that closes the backbone, seen through windows of 5, 9 and 13 cells."""

import torch
from torch import Tensor, nn

from training.nets.blocks import NO_PARAMETERS, Activation, Block, pointwise, spatial


class PyramidPool(nn.Module):
    """The map itself and its maxima over windows of 5x5, 9x9 and 13x13.

    Two 5x5 maxima in a row are one of 9x9, three are one of 13x13: the same numbers at a fraction of the cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> four of the same shape, the widest window last."""
        maps = [x]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return maps


class SppCspc(Block):
    """Pyramid pooling inside a cross-stage-partial block: one path is pooled, the other goes round it."""

    official = (
        (
            ("reduce", "cv1"),
            ("side", "cv2"),
            ("mix", "cv3"),
            ("narrow", "cv4"),
            ("merge", "cv5"),
            ("refine", "cv6"),
            ("join", "cv7"),
        ),
    )

    def __init__(self, in_channels: int, out_channels: int, activation: Activation) -> None:
        super().__init__()
        self.reduce = pointwise(in_channels, out_channels, activation)
        self.mix = spatial(out_channels, out_channels, activation)
        self.narrow = pointwise(out_channels, out_channels, activation)
        self.pools = PyramidPool()
        self.merge = pointwise(4 * out_channels, out_channels, activation)
        self.refine = spatial(out_channels, out_channels, activation)
        self.side = pointwise(in_channels, out_channels, activation)
        self.join = pointwise(2 * out_channels, out_channels, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H, W)."""
        pooled = self.pools(self.narrow(self.mix(self.reduce(x))))
        main = self.refine(self.merge(torch.cat(pooled, 1)))
        out: Tensor = self.join(torch.cat([main, self.side(x)], 1))
        return out


class TinySpp(Block):
    """YOLOv7-tiny's SppCspc: 1x1 convolutions only, and the widest window first."""

    official = (
        (("side", ""),),
        (("reduce", ""),),
        *(NO_PARAMETERS,) * 4,
        (("merge", ""),),
        NO_PARAMETERS,
        (("join", ""),),
    )

    def __init__(self, in_channels: int, out_channels: int, activation: Activation) -> None:
        super().__init__()
        self.side = pointwise(in_channels, out_channels, activation)
        self.reduce = pointwise(in_channels, out_channels, activation)
        self.pools = PyramidPool()
        self.merge = pointwise(4 * out_channels, out_channels, activation)
        self.join = pointwise(2 * out_channels, out_channels, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H, W)."""
        pooled = self.pools(self.reduce(x))
        main = self.merge(torch.cat(pooled[::-1], 1))
        out: Tensor = self.join(torch.cat([main, self.side(x)], 1))
        return out
