"""The lead-guided assignment against the reference's, cell by cell."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.assign import COARSE_REACH, FINE_REACH, Cells, assign_lead_guided, find_candidates


def assigned(golden: Any, *reaches: float) -> list[Cells]:
    pyramid = golden.pyramid
    candidates = [find_candidates(golden.targets, pyramid, threshold=4.0, reach=reach) for reach in reaches]
    return assign_lead_guided(candidates, golden.lead, targets=golden.targets, pyramid=pyramid)


def ordered(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.lexsort(rows.T)]


def assert_same(golden: Any, cells: Cells, suffix: str = "") -> None:
    """Compare cells and their targets on every level; the reference lists them by image."""
    targets = golden.targets[cells.target]
    parts = zip(cells.position.split(cells.per_level, dim=1), targets.split(cells.per_level), strict=True)
    for i, (position, target) in enumerate(parts):
        ours = np.concatenate((position.T.numpy(), target.numpy()), axis=1)
        theirs = np.concatenate((golden.numbers[f"pos{suffix}{i}"], golden.numbers[f"ptgt{suffix}{i}"]), axis=1)
        np.testing.assert_array_equal(ordered(ours), ordered(theirs))


@pytest.mark.parametrize("name", ["tiny_ota", "v7_ota"])
def test_lead_positives_are_the_references(scene: Callable[[str], Any], name: str) -> None:
    golden = scene(name)
    (lead,) = assigned(golden, FINE_REACH)
    assert_same(golden, lead)


def test_lead_and_auxiliary_positives_are_the_references(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    lead, auxiliary = assigned(golden, FINE_REACH, COARSE_REACH)
    assert_same(golden, lead)
    assert_same(golden, auxiliary, "_aux")


def test_a_network_with_auxiliary_heads_takes_more_positives(scene: Callable[[str], Any]) -> None:
    golden = scene("w6_aux")
    (alone,) = assigned(golden, FINE_REACH)
    lead, _ = assigned(golden, FINE_REACH, COARSE_REACH)
    assert len(alone.level) < len(lead.level)
