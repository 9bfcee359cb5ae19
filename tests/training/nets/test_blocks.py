import pytest
import torch
from torch import nn

from training.nets.blocks import DownC, PoolDown, SpaceToDepth, TopDown, leaky_relu
from training.nets.pyramid import PyramidPool, TinySpp


def test_space_to_depth_goes_down_the_columns_first() -> None:
    patches = SpaceToDepth()(torch.arange(16.0).view(1, 1, 4, 4))
    assert patches[0, :, 0, 0].tolist() == [0, 4, 1, 5]
    assert patches[0, :, 1, 1].tolist() == [10, 14, 11, 15]


def test_chained_pools_are_the_wider_windows() -> None:
    x = torch.randn(2, 3, 17, 11)
    for pooled, window in zip(PyramidPool()(x), (1, 5, 9, 13), strict=True):
        assert torch.equal(pooled, nn.functional.max_pool2d(x, window, 1, window // 2))


def test_tiny_pyramid_joins_the_widest_window_first() -> None:
    block = TinySpp(6, 4, nn.SiLU).eval()
    x = torch.randn(1, 6, 8, 8)
    maps = [nn.functional.max_pool2d(block.reduce(x), k, 1, k // 2) for k in (13, 9, 5, 1)]
    expected = block.join(torch.cat([block.merge(torch.cat(maps, 1)), block.side(x)], 1))
    torch.testing.assert_close(block(x), expected)


def test_pool_down_joins_strided_pooled_and_others_in_that_order() -> None:
    block = PoolDown(4, 6, nn.SiLU).eval()
    x, other = torch.randn(1, 4, 8, 8), torch.randn(1, 5, 4, 4)
    out = block(x, other)
    assert torch.equal(out[:, :6], block.strided(block.reduce(x)))
    assert torch.equal(out[:, 6:12], block.pooled(nn.functional.max_pool2d(x, 2)))
    assert torch.equal(out[:, 12:], other)


def test_down_c_shares_its_width_between_both_branches() -> None:
    block = DownC(4, 10, nn.SiLU).eval()
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x)[:, :5], block.strided(block.reduce(x)))
    assert torch.equal(block(x)[:, 5:], block.pooled(nn.functional.max_pool2d(x, 2)))


def test_top_down_puts_the_lateral_map_first() -> None:
    block = TopDown(4, 6, 3, nn.SiLU).eval()
    upper, lateral = torch.randn(1, 4, 2, 3), torch.randn(1, 6, 4, 6)
    out = block(upper, lateral)
    assert torch.equal(out[:, :3], block.lateral(lateral))
    assert torch.equal(out[:, 3:, 1::2, ::2], block.upper(upper))


def test_leaky_relu_has_slope_one_tenth() -> None:
    assert leaky_relu()(torch.tensor([-2.0, 3.0])).tolist() == pytest.approx([-0.2, 3.0])
