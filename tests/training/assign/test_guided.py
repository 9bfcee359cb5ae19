"""The guided assignment against the reference's, cell by cell."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.assign import (
    COARSE_REACH,
    FINE_REACH,
    LIMIT,
    LIMIT_WITH_AUXILIARY,
    Cells,
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
