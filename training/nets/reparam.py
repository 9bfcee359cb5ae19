"""Folding: structure that helps training becomes one convolution that computes the same function.

Batch normalisation goes into its convolution, RepConv's branches into one 3x3 (section 4.1), implicit vectors into the
head's 1x1 (section 4.3). All of it is arithmetic on weights, done in float64 and rounded once. This module knows
blocks, not networks.
"""

import copy

import torch
from torch import Tensor, nn

from training.nets.blocks import ITSELF, Activation, Block, ConvBlock, Entry


class FusedConv(Block):
    """Convolution with bias, then the activation: what is left of a ConvBlock or a RepConv."""

    def __init__(self, conv: nn.Conv2d, act: nn.Module, official: tuple[Entry, ...]) -> None:
        super().__init__()
        self.conv = conv
        self.act = act
        self.official = official

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H/stride, W/stride)."""
        out: Tensor = self.act(self.conv(x))
        return out


class NormedConv(nn.Module):
    """Convolution without bias and batch normalisation: one branch of a RepConv."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H/stride, W/stride)."""
        out: Tensor = self.bn(self.conv(x))
        return out


class RepConv(Block):
    """Re-parameterised convolution: 3x3, 1x1 and, where the shape stays, identity; normalised, summed, then activated.

    Planned re-parameterisation (section 4.1): where a residual or a concatenation already carries the input on, the
    identity branch would take its diversity away, and RepConvN goes without. The released models place RepConv where
    the shape changes, so that none of theirs has it.
    """

    official = (
        (
            ("dense.conv", "rbr_dense.0"),
            ("dense.bn", "rbr_dense.1"),
            ("pointwise.conv", "rbr_1x1.0"),
            ("pointwise.bn", "rbr_1x1.1"),
            ("identity", "rbr_identity"),
        ),
    )

    def __init__(
        self, in_channels: int, out_channels: int, activation: Activation, *, stride: int = 1, identity: bool = True
    ) -> None:
        super().__init__()
        self.dense = NormedConv(in_channels, out_channels, kernel=3, stride=stride)
        self.pointwise = NormedConv(in_channels, out_channels, kernel=1, stride=stride)
        has_identity = identity and in_channels == out_channels and stride == 1
        self.identity = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.03) if has_identity else None
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H/stride, W/stride)."""
        total = self.dense(x) + self.pointwise(x)
        if self.identity is not None:
            total = total + self.identity(x)
        out: Tensor = self.act(total)
        return out


def fuse_block(block: Block) -> Block:
    """Return a copy of ``block`` in which every ConvBlock and RepConv is a FusedConv. The input is not changed."""
    if isinstance(block, ConvBlock):
        kernel, bias = fold_batch_norm(block.conv.weight, block.bn)
        return FusedConv(_convolution(block.conv, kernel, bias), copy.deepcopy(block.act), (ITSELF,))
    if isinstance(block, RepConv):
        kernel, bias = fold_branches(block)
        conv = _convolution(block.dense.conv, kernel, bias)
        return FusedConv(conv, copy.deepcopy(block.act), ((("conv", "rbr_reparam"),),))
    fused = copy.deepcopy(block)
    for name, child in _blocks_inside(fused):
        fused.set_submodule(name, fuse_block(child))
    return fused


@torch.no_grad()
def fold_batch_norm(weight: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale each output channel by γ/√(σ²+ε) and shift it by β − μγ/√(σ²+ε).

    ``weight`` is (O, I, k, k); returns float64 kernel (O, I, k, k) and bias (O,).
    """
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
    kernel = weight.double() * scale[:, None, None, None]
    return kernel, bn.bias.double() - bn.running_mean.double() * scale


@torch.no_grad()
def fold_branches(block: RepConv) -> tuple[Tensor, Tensor]:
    """Sum the branches as 3x3 kernels: the 1x1 sits in the centre, identity is a 1x1 of ones on the diagonal."""
    kernel, bias = fold_batch_norm(block.dense.conv.weight, block.dense.bn)
    points = [fold_batch_norm(block.pointwise.conv.weight, block.pointwise.bn)]
    if block.identity is not None:
        diagonal = torch.eye(bias.numel(), dtype=torch.float64, device=bias.device)[:, :, None, None]
        points.append(fold_batch_norm(diagonal, block.identity))
    for point_kernel, point_bias in points:
        kernel = kernel + nn.functional.pad(point_kernel, [1, 1, 1, 1])
        bias = bias + point_bias
    return kernel, bias


@torch.no_grad()
def fold_implicit(conv: nn.Conv2d, added: Tensor, multiplied: Tensor) -> nn.Conv2d:
    """Return the 1x1 convolution that computes ``multiplied · conv(x + added)``.

    ``added`` is (1, I, 1, 1) and ``multiplied`` (1, O, 1, 1). Adding first, multiplying last is what the head does.
    """
    assert conv.bias is not None
    weight, factor = conv.weight.double(), multiplied.double().flatten()
    bias = conv.bias.double() + weight.flatten(1) @ added.double().flatten()
    return _convolution(conv, weight * factor[:, None, None, None], bias * factor)


def _convolution(like: nn.Conv2d, kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """A convolution of ``like``'s geometry, dtype and device with the given weights."""
    conv = nn.Conv2d(
        like.in_channels,
        like.out_channels,
        like.kernel_size,  # type: ignore[arg-type]  # torch types the attribute wider than the argument
        like.stride,  # type: ignore[arg-type]
        like.padding,  # type: ignore[arg-type]
        device="meta",
    )
    conv.weight = nn.Parameter(kernel.to(like.weight.dtype))
    conv.bias = nn.Parameter(bias.to(like.weight.dtype))
    return conv


def _blocks_inside(block: nn.Module, prefix: str = "") -> list[tuple[str, Block]]:
    """The nearest blocks below ``block``, by dotted name."""
    found: list[tuple[str, Block]] = []
    for name, child in block.named_children():
        if isinstance(child, Block):
            found.append((prefix + name, child))
        else:
            found.extend(_blocks_inside(child, f"{prefix}{name}."))
    return found
