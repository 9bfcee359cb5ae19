"""The networks of tables 3 to 8: what each changes, and the sizes that the paper prints."""

from fractions import Fraction

import pytest

from training.nets import VARIANTS, find_variant, p5
from training.nets.ablations import ABLATIONS, X_LIGHT, scaled
from training.nets.describe import describe_variant
from training.nets.rows import Csp, Elan, RepConv


def test_compound_scaling_of_the_light_model_is_x() -> None:
    assert scaled(X_LIGHT, transitions=Fraction(5, 4), depth=Fraction(3, 2)) == p5.X


@pytest.mark.parametrize(("scaled_name", "transitions", "depth"), [("e6", (5, 4), (3, 2)), ("d6", (3, 2), (2, 1))])
def test_the_elans_of_larger_models_are_compound_scaled_from_w6(
    scaled_name: str, transitions: tuple[int, int], depth: tuple[int, int]
) -> None:
    ours = {row.name: row.block for row in VARIANTS[scaled_name].rows if isinstance(row.block, Elan)}
    rows = scaled(VARIANTS["w6"].rows, transitions=Fraction(*transitions), depth=Fraction(*depth))
    assert {row.name: row.block for row in rows if isinstance(row.block, Elan)} == ours


PRINTED = [name for name, variant in ABLATIONS.items() if variant.paper.params_m]


# What is left between counts and the printed GFLOPs, at most 0.3 %, is the paper's profiler: its rounding, and
# normalisation that it counted in unfused networks.
@pytest.mark.parametrize("name", ["x-light", *(pytest.param(n, marks=pytest.mark.long) for n in PRINTED[1:])])
def test_sizes_are_the_papers(name: str) -> None:
    paper, size = ABLATIONS[name].paper, describe_variant(ABLATIONS[name]).as_in_paper
    assert paper.params_m is not None
    assert size.parameters / 1e6 == pytest.approx(paper.params_m, abs=0.051)
    assert size.gflops_with_bias == pytest.approx(paper.gflops, rel=3.5e-3)


def test_positions_of_rep_conv_differ_in_nothing_else() -> None:
    base = ABLATIONS["elan3"]
    for name in (name for name in ABLATIONS if name.startswith("elan3-rep")):
        links = {row.block.rep for row in ABLATIONS[name].rows if isinstance(row.block, Elan)}
        assert len(links) == 1
        assert links != {()}
        plain = tuple(row for row in ABLATIONS[name].rows if not isinstance(row.block, Elan))
        assert plain == tuple(row for row in base.rows if not isinstance(row.block, Elan))


def test_dark_blocks_of_the_backbone_alone_are_changed() -> None:
    stages = [row for row in ABLATIONS["yolor-w6-reversed-rep"].rows if isinstance(row.block, Csp)]
    changed = {row.name for row in stages if row.block.reverse and row.block.rep}
    assert changed == {"c2", "c3", "c4", "c5", "c6"}
    assert {row.name for row in stages} - changed == {"f3", "f4", "f5", "n4", "n5", "n6"}


def test_a_full_auxiliary_head_reads_sums_where_the_partial_one_reads_halves() -> None:
    full, partial = ABLATIONS["e6e-full"], VARIANTS["e6e"]
    assert [row.sources for row in full.aux_rows] == [("f3",), ("f4",), ("f5",), ("top",)]
    assert full.rows == partial.rows
    assert [row.block for row in full.aux_rows] == [row.block for row in partial.aux_rows]
    assert not ABLATIONS["e6e-lead"].aux_rows


def test_re_parameterised_ablations_alone_have_rep_conv() -> None:
    for name, variant in ABLATIONS.items():
        blocks = [row.block for row in variant.rows]
        rep = any((isinstance(b, Elan | Csp) and b.rep) or isinstance(b, RepConv) for b in blocks)
        assert rep == ("rep" in name.split("-"))


def test_names_find_the_family_and_the_ablations_and_nothing_else() -> None:
    assert find_variant("e6e") is VARIANTS["e6e"]
    assert find_variant("x-light") is ABLATIONS["x-light"]
    assert find_variant("e7") is None
    assert not set(ABLATIONS) & set(VARIANTS)
