"""The modules that rows are made of: convolutions, and what halves, doubles and joins maps.

Each block declares ``official``: which of its parts lie under which entry of the reference's graph, so that the
tensors of an official checkpoint find their place. Blocks know nothing of tables, variants or heads.

Letters: B images, I and O channels in and out, H and W height and width of the map that is read.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]

# One entry of the reference's graph: our prefix and the official one of every part with parameters. "" is all of it.
Entry = tuple[tuple[str, str], ...]

NO_PARAMETERS: Entry = ()
ITSELF: Entry = (("", ""),)


def leaky_relu() -> nn.Module:
    """YOLOv7-tiny's activation: slope 0.1 below zero."""
    return nn.LeakyReLU(0.1)


class Block(nn.Module):
    """What one row runs: feature maps in, one feature map out."""

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
        """(B, I, H, W) -> (B, O, H/stride, W/stride)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


def pointwise(in_channels: int, out_channels: int, activation: Activation) -> ConvBlock:
    """A 1x1 ConvBlock."""
    return ConvBlock(in_channels, out_channels, kernel=1, stride=1, activation=activation)


def spatial(in_channels: int, out_channels: int, activation: Activation, *, stride: int = 1) -> ConvBlock:
    """A 3x3 ConvBlock."""
    return ConvBlock(in_channels, out_channels, kernel=3, stride=stride, activation=activation)


class Concat(Block):
    """Joins maps on channels."""

    def forward(self, *maps: Tensor) -> Tensor:
        """(B, I, H, W) each -> (B, ΣI, H, W), in the order given."""
        return torch.cat(maps, 1)


class Sum(Block):
    """Merges the two halves of an extended ELAN."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, I, H, W) twice -> (B, I, H, W)."""
        return first + second


class Pool(Block):
    """Max pooling 2x2, stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, I, H/2, W/2)."""
        out: Tensor = self.pool(x)
        return out


class SpaceToDepth(Block):
    """Each 2x2 patch becomes channels: upper left, lower left, upper right, lower right."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, 4I, H/2, W/2)."""
        return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


class PoolDown(Block):
    """Halves the resolution along a strided convolution and along max pooling, and joins further maps to both."""

    official = (NO_PARAMETERS, (("pooled", ""),), (("reduce", ""),), (("strided", ""),), NO_PARAMETERS)

    def __init__(self, in_channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.pooled = pointwise(in_channels, hidden, activation)
        self.reduce = pointwise(in_channels, hidden, activation)
        self.strided = spatial(hidden, hidden, activation, stride=2)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """(B, I, H, W) and others of (B, ·, H/2, W/2) -> (B, 2·hidden + others, H/2, W/2)."""
        return torch.cat([self.strided(self.reduce(x)), self.pooled(self.pool(x)), *others], 1)


class DownC(Block):
    """PoolDown as E6, D6 and E6E have it: full width before the strided convolution, and one entry of the reference."""

    official = ((("reduce", "cv1"), ("strided", "cv2"), ("pooled", "cv3")),)

    def __init__(self, in_channels: int, out_channels: int, activation: Activation) -> None:
        super().__init__()
        self.reduce = pointwise(in_channels, in_channels, activation)
        self.strided = spatial(in_channels, out_channels // 2, activation, stride=2)
        self.pooled = pointwise(in_channels, out_channels // 2, activation)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H/2, W/2)."""
        return torch.cat([self.strided(self.reduce(x)), self.pooled(self.pool(x))], 1)


class TopDown(Block):
    """One step down the feature pyramid: the upper map narrowed and enlarged, the backbone's narrowed, both joined."""

    official = ((("upper", ""),), NO_PARAMETERS, (("lateral", ""),), NO_PARAMETERS)

    def __init__(self, upper_channels: int, lateral_channels: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.upper = pointwise(upper_channels, hidden, activation)
        self.enlarge = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.lateral = pointwise(lateral_channels, hidden, activation)

    def forward(self, upper: Tensor, lateral: Tensor) -> Tensor:
        """(B, ·, H/2, W/2) and (B, ·, H, W) -> (B, 2·hidden, H, W)."""
        return torch.cat([self.lateral(lateral), self.enlarge(self.upper(upper))], 1)
