"""Stages: what ablations change in them, and that folding keeps the function."""

import pytest
import torch
from torch import Tensor, nn

from training.nets import rows
from training.nets.reparam import FusedConv, RepConv, fuse_block
from training.nets.stages import Csp, DarkBlock, Elan


def image(channels: int = 8) -> Tensor:
    return torch.randn(2, channels, 6, 6, generator=torch.Generator().manual_seed(4))


def trained(module: nn.Module) -> nn.Module:
    """Give every normalisation other statistics than it starts with."""
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return module.eval()


def test_planned_links_are_re_parameterised_without_identity() -> None:
    elan = Elan(8, rows.Elan(8, 16, depth=4, step=2, rep=(1, 3)), nn.SiLU)
    kinds = [link for link in elan.chain if isinstance(link, RepConv)]
    assert [isinstance(link, RepConv) for link in elan.chain] == [False, True, False, True]
    assert [link.identity for link in kinds] == [None, None]


@pytest.mark.parametrize(
    "stage",
    [
        Elan(8, rows.Elan(8, 16, depth=4, step=2, rep=(0, 1)), nn.SiLU),
        Csp(8, rows.Csp(8, 16, depth=2, rep=True), nn.SiLU),
        Csp(8, rows.Csp(8, 16, depth=2, reverse=True, rep=True), nn.SiLU),
        Csp(8, rows.Csp(8, 16, depth=2, residual=False, after_entry=True), nn.SiLU),
    ],
)
def test_a_folded_stage_computes_the_same(stage: Elan | Csp) -> None:
    folded = fuse_block(trained(stage))
    assert not [part for part in folded.modules() if isinstance(part, RepConv | nn.BatchNorm2d)]
    torch.testing.assert_close(folded(image()), stage(image()), rtol=1e-4, atol=1e-4)


def test_a_reversed_dark_block_has_the_same_parameters_in_the_other_order() -> None:
    plain, reverse = (DarkBlock(8, rows.Csp(8, 16, 1, reverse=flag), nn.SiLU) for flag in (False, True))
    kernels = [[layer.conv.kernel_size[0] for layer in block.layers] for block in (plain, reverse)]
    assert kernels == [[1, 3], [3, 1]]
    counts = [sum(parameter.numel() for parameter in block.parameters()) for block in (plain, reverse)]
    assert counts[0] == counts[1]


def test_a_dark_block_of_the_neck_has_no_residual() -> None:
    block = DarkBlock(8, rows.Csp(8, 16, 1, residual=False), nn.SiLU).eval()
    x = image()
    torch.testing.assert_close(block(x), block.layers(x))
    block.residual = True
    torch.testing.assert_close(block(x), x + block.layers(x))


def test_a_dark_blocks_rep_conv_has_all_branches_until_it_is_folded() -> None:
    block = DarkBlock(8, rows.Csp(8, 16, 1, rep=True), nn.SiLU)
    assert isinstance(block.layers[1], RepConv)
    assert block.layers[1].identity is not None
    assert isinstance(fuse_block(block.layers[1]), FusedConv)
