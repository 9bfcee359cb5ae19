import math

import pytest
import torch

from training.nets import decode
from training.nets.head import cell_table, flatten_levels, head_convolution

ANCHORS = torch.tensor([[[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]], [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]]])
STRIDES = (8, 16)


def raw_levels(batch: int = 2, classes: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    return [
        torch.randn(batch, 3, 4, 6, 5 + classes, generator=generator),
        torch.randn(batch, 3, 2, 3, 5 + classes, generator=generator),
    ]


def test_zero_logits_are_anchors_in_the_middle_of_their_cells() -> None:
    decoded = decode([torch.zeros(1, 3, 4, 6, 6), torch.zeros(1, 3, 2, 3, 6)], ANCHORS, STRIDES)
    assert decoded.shape == (1, 3 * 24 + 3 * 6, 6)
    assert decoded[0, 24 + 2 * 6 + 5].tolist() == [5.5 * 8, 2.5 * 8, 16, 30, 0.5, 0.5]
    assert decoded[0, 72 + 2 * 6 + 1 * 3 + 1].tolist() == [1.5 * 16, 1.5 * 16, 59, 119, 0.5, 0.5]


def test_each_prediction_is_the_papers_formula() -> None:
    raws = raw_levels()
    decoded = decode(raws, ANCHORS, STRIDES)
    t = [1 / (1 + math.exp(-value)) for value in raws[1][1, 2, 1, 0].tolist()]
    expected = [(2 * t[0] - 0.5) * 16, (2 * t[1] + 0.5) * 16, (2 * t[2]) ** 2 * 59, (2 * t[3]) ** 2 * 119, *t[4:]]
    assert decoded[1, 72 + 2 * 6 + 3].tolist() == pytest.approx(expected, rel=1e-5)


def test_boxes_stay_within_half_a_cell_and_four_anchors() -> None:
    extreme = [torch.full((1, 3, 4, 6, 6), value) for value in (-50.0, 50.0)]
    low, high = (decode([raw], ANCHORS[:1], (8,))[0] for raw in extreme)
    assert low[0, :4].tolist() == pytest.approx([-4, -4, 0, 0], abs=1e-4)
    assert high[0, :4].tolist() == pytest.approx([12, 12, 40, 52], abs=1e-4)


def test_auxiliary_levels_are_not_decoded() -> None:
    raws = raw_levels()
    assert torch.equal(decode(raws + [raw + 1 for raw in raws], ANCHORS, STRIDES), decode(raws, ANCHORS, STRIDES))


def test_cells_lie_in_the_order_of_the_flattened_levels() -> None:
    raws = raw_levels()
    cells = cell_table(raws, ANCHORS, STRIDES)
    for raw, stride in zip(raws, STRIDES, strict=True):
        for row, column in ((0, 0), (1, 2)):
            raw[0, 1, row, column, 0] = 1000 * stride + 100 * row + column
    found = flatten_levels(raws)[0, :, 0]
    for index in torch.where(found > 999)[0].tolist():
        column, row, stride = cells[index, :3].tolist()
        assert found[index] == 1000 * stride + 100 * row + column


def test_one_class_has_a_finite_prior() -> None:
    conv = head_convolution(16, 1, 8)
    assert conv.out_channels == 3 * 6
    assert torch.allclose(conv.bias.view(3, 6)[:, 5], torch.tensor(math.log(60)), atol=0.26)
