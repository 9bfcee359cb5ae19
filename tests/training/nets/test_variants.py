"""What the variants share: the paper derives most of them from two tables by scaling and extending."""

from fractions import Fraction

import pytest
from torch import nn

from training.nets import VARIANTS
from training.nets.rows import Elan, Row, Sum

# By name, because tests of the export add a small variant of their own.
EIGHT = ("tiny", "tiny-silu", "v7", "x", "w6", "e6", "d6", "e6e")


def wiring(rows: tuple[Row, ...]) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.name, row.sources) for row in rows]


def elans(name: str) -> dict[str, Elan]:
    return {row.name: row.block for row in VARIANTS[name].rows if isinstance(row.block, Elan)}


@pytest.mark.parametrize(("scaled", "base"), [("x", "v7"), ("e6", "w6"), ("d6", "w6"), ("tiny-silu", "tiny")])
def test_scaling_changes_widths_and_depths_but_no_wire(scaled: str, base: str) -> None:
    assert wiring(VARIANTS[scaled].rows) == wiring(VARIANTS[base].rows)
    assert wiring(VARIANTS[scaled].aux_rows) == wiring(VARIANTS[base].aux_rows)


@pytest.mark.parametrize(
    ("scaled", "base", "depth", "width"),
    [("x", "v7", "3/2", "5/4"), ("e6", "w6", "3/2", "5/4"), ("d6", "w6", "2", "3/2")],
)
def test_compound_scaling_deepens_blocks_and_widens_transitions(scaled: str, base: str, depth: str, width: str) -> None:
    for name, elan in elans(base).items():
        larger = elans(scaled)[name]
        assert larger.depth == elan.depth * Fraction(depth)
        assert larger.out == elan.out * Fraction(width)
        assert larger.hidden == elan.hidden


def test_e6e_is_e6_with_every_elan_doubled_and_added() -> None:
    extended = {row.name: row for row in VARIANTS["e6e"].rows}
    for row in VARIANTS["e6"].rows:
        other = extended.pop(row.name)
        if not isinstance(row.block, Elan):
            assert other == row
            continue
        halves = [extended.pop(f"{row.name}_{half}") for half in ("second", "first")]
        assert other == Row(row.name, Sum(), tuple(half.name for half in halves))
        assert [half.block for half in halves] == [row.block, row.block]
        assert halves[0].sources == halves[1].sources
    assert not extended


def test_only_p6_models_have_auxiliary_rows_one_per_level() -> None:
    for variant in VARIANTS.values():
        assert len(variant.aux_rows) == (4 if len(variant.strides) == 4 else 0)
        assert len(variant.taps("training")) == len(variant.lead) + len(variant.aux_rows)
        assert variant.taps("deploy") == variant.lead


def test_anchors_grow_with_their_strides() -> None:
    for variant in VARIANTS.values():
        areas = [sum(width * height for width, height in level) for level in variant.anchors]
        assert areas == sorted(areas)
        assert len(areas) == len(variant.strides)


def test_tiny_alone_is_leaky() -> None:
    assert {name: VARIANTS[name].activation is nn.SiLU for name in EIGHT} == {name: name != "tiny" for name in EIGHT}
