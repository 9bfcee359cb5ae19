import pytest
import torch
from torch import nn

from training.nets.blocks import Block, ConvBlock
from training.nets.head import ImplicitConv
from training.nets.reparam import FusedConv, RepConv, fuse_block
from training.nets.rows import Elan as ElanSpec
from training.nets.stages import Elan


def worn(block: Block) -> Block:
    """Give every normalisation the statistics and weights of a trained one."""
    generator = torch.Generator().manual_seed(4)
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (norm.bias.data, norm.running_mean):
                tensor.normal_(0, 0.3, generator=generator)
    return block.eval()


@pytest.mark.parametrize(
    "block",
    [
        ConvBlock(4, 6, kernel=3, stride=2, activation=nn.SiLU),
        ConvBlock(4, 6, kernel=1, stride=1, activation=nn.SiLU),
        RepConv(4, 6, nn.SiLU),
        RepConv(4, 4, nn.SiLU, stride=2),
        RepConv(4, 4, nn.SiLU),
        Elan(4, ElanSpec(4, 6, depth=4, step=2, width=2), nn.SiLU),
    ],
)
def test_a_fused_block_computes_the_same(block: Block) -> None:
    block = worn(block)
    x = torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(5))
    fused = fuse_block(block)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    torch.testing.assert_close(fused(x), block(x), rtol=1e-5, atol=1e-5)


def test_identity_exists_only_where_the_shape_stays() -> None:
    assert RepConv(4, 4, nn.SiLU).identity is not None
    assert RepConv(4, 6, nn.SiLU).identity is None
    assert RepConv(4, 4, nn.SiLU, stride=2).identity is None


def test_fusing_changes_nothing_of_its_input() -> None:
    block = worn(Elan(4, ElanSpec(4, 6, depth=2), nn.SiLU))
    before = {key: tensor.clone() for key, tensor in block.state_dict().items()}
    fused = fuse_block(block)
    for parameter in fused.parameters():
        parameter.data.zero_()
    after = block.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_fused_block_keeps_dtype_and_stays_fused() -> None:
    fused = fuse_block(worn(RepConv(4, 6, nn.SiLU).to(torch.bfloat16)))
    assert isinstance(fused, FusedConv)
    assert fused.conv.weight.dtype == torch.bfloat16
    assert torch.equal(fuse_block(fused).state_dict()["conv.weight"], fused.conv.weight)


def test_implicit_vectors_fold_in_the_order_of_use() -> None:
    level = ImplicitConv(nn.Conv2d(5, 7, 1))
    with torch.no_grad():
        level.added.implicit.normal_()
        level.multiplied.implicit.normal_()
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(level.folded()(x), level(x), rtol=1e-5, atol=1e-5)


def test_implicit_vectors_start_near_nothing() -> None:
    level = ImplicitConv(nn.Conv2d(2000, 3000, 1))
    assert level.added.implicit.mean().item() == pytest.approx(0, abs=0.003)
    assert level.multiplied.implicit.mean().item() == pytest.approx(1, abs=0.003)
    assert level.added.implicit.std().item() == pytest.approx(0.02, rel=0.1)
