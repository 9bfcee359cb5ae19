"""The modules that rows of a network are made of: convolutions, ELAN and its relatives, down-sampling, pyramid pooling.

Each block declares ``official``: which of its sub-modules lie under which entry of the reference graph, so that tensors of an official checkpoint find their place. The blocks know nothing of
rows, variants or heads.

Letters: B batch, C channels, H height, W width of a feature map.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]

# (our prefix, official prefix) of every parameter-carrying part of one entry of the reference graph; "" is the block or the entry itself.
Entry = tuple[tuple[str, str], ...]

NO_PARAMETERS: Entry = ()
ITSELF: Entry = (("", ""),)


def leaky_relu() -> nn.Module:
    """YOLOv7-tiny's activation: slope 0.1 on the negative side."""
    return nn.LeakyReLU(0.1)


class Block(nn.Module):
    """What one row of a network runs: some feature maps in, one feature map out."""

    official: tuple[Entry, ...] = (NO_PARAMETERS,)


class ConvBlock(Block):
    """Convolution without bias, batch normalisation, activation; "same" padding."""

    official = (ITSELF,)

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, stride: int, activation: Activation
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


def pointwise(in_channels: int, out_channels: int, activation: Activation) -> ConvBlock:
    """A 1x1 ConvBlock."""
    return ConvBlock(in_channels, out_channels, kernel=1, stride=1, activation=activation)


def spatial(in_channels: int, out_channels: int, activation: Activation, *, stride: int = 1) -> ConvBlock:
    """A 3x3 ConvBlock."""
    return ConvBlock(in_channels, out_channels, kernel=3, stride=stride, activation=activation)


class Elan(Block):
    """Efficient layer aggregation (section 3.1, figure 2c): two 1x1 views of the input, a chain of 3x3 convolutions on one of them, and a 1x1 transition over what was kept.

    ``width`` is the chain's; every ``step``-th link of the chain is kept.
    """

    def __init__(  # noqa: PLR0913 - the six numbers that tell the family's ELANs apart
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden: int,
        width: int,
        depth: int,
        step: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.side = pointwise(in_channels, hidden, activation)
        self.entry = pointwise(in_channels, hidden, activation)
        self.chain = nn.ModuleList(spatial(hidden if i == 0 else width, width, activation) for i in range(depth))
        self.transition = pointwise(2 * hidden + depth // step * width, out_channels, activation)
        self.step = step
        links: list[Entry] = [((f"chain.{i}", ""),) for i in range(depth)]
        self.official = ((("side", ""),), (("entry", ""),), *links, NO_PARAMETERS, (("transition", ""),))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.side(x), self.entry(x)]
        for link in self.chain:
            maps.append(link(maps[-1]))
        kept = maps[:2] + maps[1 + self.step :: self.step]
        out: Tensor = self.transition(torch.cat(kept[::-1], 1))
        return out


class Concat(Block):
    """Channel concatenation, in the order given."""

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, 1)


class Sum(Block):
    """The second half of E-ELAN: two parallel ELANs are merged by adding them."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class Pool(Block):
    """Max pooling 2x2, stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pool(x)
        return out


class SpaceToDepth(Block):
    """The P6 models' first row: each 2x2 patch becomes 4C channels. (B, C, H, W) -> (B, 4C, H/2, W/2)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


class PoolDown(Block):
    """Halves the resolution along a strided convolution and along a max pooling; ``others`` are joined after both."""

    official = (NO_PARAMETERS, (("pooled", ""),), (("reduce", ""),), (("strided", ""),), NO_PARAMETERS)

    def __init__(self, in_channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.pooled = pointwise(in_channels, hidden, activation)
        self.reduce = pointwise(in_channels, hidden, activation)
        self.strided = spatial(hidden, hidden, activation, stride=2)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return torch.cat([self.strided(self.reduce(x)), self.pooled(self.pool(x)), *others], 1)


class DownC(Block):
    """The down-sampling of E6, D6 and E6E: as PoolDown, with the full width before the strided convolution."""

    official = ((("reduce", "cv1"), ("strided", "cv2"), ("pooled", "cv3")),)

    def __init__(self, in_channels: int, out_channels: int, activation: Activation) -> None:
        super().__init__()
        self.reduce = pointwise(in_channels, in_channels, activation)
        self.strided = spatial(in_channels, out_channels // 2, activation, stride=2)
        self.pooled = pointwise(in_channels, out_channels // 2, activation)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.strided(self.reduce(x)), self.pooled(self.pool(x))], 1)


class TopDown(Block):
    """One step down the feature pyramid: the upper map is narrowed and enlarged, the backbone's map narrowed, and both are joined."""

    official = ((("upper", ""),), NO_PARAMETERS, (("lateral", ""),), NO_PARAMETERS)

    def __init__(self, upper_channels: int, lateral_channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.upper = pointwise(upper_channels, hidden, activation)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.lateral = pointwise(lateral_channels, hidden, activation)

    def forward(self, upper: Tensor, lateral: Tensor) -> Tensor:
        return torch.cat([self.lateral(lateral), self.enlarge(self.upper(upper))], 1)
