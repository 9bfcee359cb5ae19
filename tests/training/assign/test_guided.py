"""The guided assignment against the reference's, cell by cell."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.assign import (
    COARSE_REACH,
    FINE_REACH,
    LIMIT,
    LIMIT_WITH_AUXILIARY,
    Cells,
    Pyramid,
    assign_guided,
    find_candidates,
)


def assigned(golden: Any, reach: float, limit: int = LIMIT_WITH_AUXILIARY) -> Cells:
    pyramid = golden.pyramid
    candidates = find_candidates(golden.targets, pyramid, threshold=4.0, reach=reach)
    return assign_guided(candidates, golden.lead, targets=golden.targets, pyramid=pyramid, limit=limit)


def ordered(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.lexsort(rows.T)]


def assert_same(golden: Any, cells: Cells, suffix: str = "") -> None:
    """Compare positives and their targets on every level; the reference lists them by image."""
    for i in range(len(golden.pyramid.sizes)):
        here = cells.positive & (cells.level == i)
        target = golden.targets[cells.target[here]]
        ours = np.concatenate((cells.position[:, here].T.numpy(), target.numpy()), axis=1)
        theirs = np.concatenate((golden.numbers[f"pos{suffix}{i}"], golden.numbers[f"ptgt{suffix}{i}"]), axis=1)
        np.testing.assert_array_equal(ordered(ours), ordered(theirs))


@pytest.mark.parametrize("name", ["tiny_ota", "v7_ota"])
def test_lead_positives_are_the_references(scene: Callable[[str], Any], name: str) -> None:
    golden = scene(name)
    assert_same(golden, assigned(golden, FINE_REACH, LIMIT))


def test_lead_and_auxiliary_positives_are_the_references(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    assert_same(golden, assigned(golden, FINE_REACH))
    assert_same(golden, assigned(golden, COARSE_REACH), "_aux")


def test_a_larger_limit_takes_more_positives(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    assert assigned(golden, FINE_REACH, LIMIT).positive.sum() < assigned(golden, FINE_REACH).positive.sum()


def test_coarse_candidates_give_more_positives_than_fine_ones(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    fine, coarse = (assigned(golden, reach).count().sum() for reach in (FINE_REACH, COARSE_REACH))
    assert fine < coarse


def test_a_wide_image_is_assigned_as_if_it_were_the_upper_half_of_a_square_one() -> None:
    anchors_px, strides = torch.tensor([[[10, 13], [16, 30]], [[30, 61], [62, 45]]]).float(), torch.tensor([8.0, 16.0])
    generator = torch.Generator().manual_seed(5)
    square = [torch.randn(1, 2, side, side, 8, generator=generator) for side in (16, 8)]
    centres = torch.rand(20, 2, generator=generator) * 0.6 + 0.2  # of the wide image, away from its borders
    extents = torch.rand(20, 2, generator=generator) * 0.4 + 0.1
    wide_targets = torch.cat((torch.zeros(20, 1), torch.arange(20)[:, None] % 3, centres, extents), dim=1)
    square_targets = wide_targets * torch.tensor([1, 1, 1, 0.5, 1, 0.5])
    found = []
    for image_hw, targets in (((64, 128), wide_targets), ((128, 128), square_targets)):
        pyramid = Pyramid.of(image_hw, anchors_px=anchors_px, strides=strides)
        cells = find_candidates(targets, pyramid, threshold=4.0, reach=FINE_REACH)
        outputs = [output[:, :, : image_hw[0] // stride] for output, stride in zip(square, (8, 16), strict=True)]
        cells = assign_guided(cells, outputs, targets=targets, pyramid=pyramid, limit=LIMIT)
        table = torch.stack((cells.level, *cells.position, cells.target)).T
        found.append({tuple(row) for row in table[cells.positive].tolist()})
    assert found[0] == found[1]
    assert len(found[0]) > 10
