"""The stages that networks are stacked from: ELAN, and the cross-stage-partial stage of the ablations on residuals.

Letters: B images, I and O channels in and out, H and W height and width of the map.
"""

import itertools

import torch
from torch import Tensor, nn

from training.nets import rows
from training.nets.blocks import ITSELF, NO_PARAMETERS, Activation, Block, Entry, pointwise, spatial
from training.nets.reparam import RepConv


class Elan(Block):
    """Efficient layer aggregation network (section 3.1, figure 2c).

    Two 1x1 views of the input, a chain of 3x3 convolutions on one of them, and a 1x1 transition over what was kept.
    Where the chain is re-parameterised it is planned (section 4.1): RepConvN, without the identity that would shortcut
    a map on its way into the concatenation.
    """

    def __init__(self, in_channels: int, spec: rows.Elan, activation: Activation) -> None:
        super().__init__()
        width = spec.width or spec.hidden
        self.step = spec.step
        self.side = pointwise(in_channels, spec.hidden, activation)
        self.entry = pointwise(in_channels, spec.hidden, activation)
        widths = [spec.hidden] + [width] * spec.depth
        self.chain = nn.ModuleList(
            RepConv(a, b, activation, identity=False) if i in spec.rep else spatial(a, b, activation)
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.transition = pointwise(2 * spec.hidden + spec.depth // spec.step * width, spec.out, activation)
        links: list[Entry] = [((f"chain.{i}", ""),) for i in range(spec.depth)]
        self.official = ((("side", ""),), (("entry", ""),), *links, NO_PARAMETERS, (("transition", ""),))

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H, W)."""
        maps = [self.side(x), self.entry(x)]
        for link in self.chain:
            maps.append(link(maps[-1]))
        kept = maps[:2] + maps[1 + self.step :: self.step]
        out: Tensor = self.transition(torch.cat(kept[::-1], 1))
        return out


class DarkBlock(nn.Module):
    """Darknet's residual block, 1x1 then 3x3; or reversed, so that no 3x3 stands right before the sum (figure 7).

    Both orders have the same parameters and operations. Re-parameterised, the 3x3 is a RepConv.
    """

    def __init__(self, channels: int, spec: rows.Csp, activation: Activation) -> None:
        super().__init__()
        kernel = RepConv(channels, channels, activation) if spec.rep else spatial(channels, channels, activation)
        layers = (pointwise(channels, channels, activation), kernel)
        self.layers = nn.Sequential(*layers[:: -1 if spec.reverse else 1])
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> the same."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class Csp(Block):
    """Cross-stage-partial stage (Wang et al., CVPRW 2020): one half passes dark blocks, the other goes round.

    Each half is a 1x1 view of the input, or, where the spec says ``after_entry``, the second one of the first.
    """

    official = (ITSELF,)

    def __init__(self, in_channels: int, spec: rows.Csp, activation: Activation) -> None:
        super().__init__()
        self.after_entry = spec.after_entry
        self.side = pointwise(spec.hidden if spec.after_entry else in_channels, spec.hidden, activation)
        self.entry = pointwise(in_channels, spec.hidden, activation)
        self.chain = nn.Sequential(*(DarkBlock(spec.hidden, spec, activation) for _ in range(spec.depth)))
        self.transition = pointwise(2 * spec.hidden, spec.out, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) -> (B, O, H, W)."""
        entry = self.entry(x)
        side = self.side(entry if self.after_entry else x)
        out: Tensor = self.transition(torch.cat([self.chain(entry), side], 1))
        return out
