"""The networks of the paper's ablations, tables 3 to 8: the family's tables, transformed. docs/ablations.md explains.

Most change one thing in a table that exists. Only the residual networks of table 5 have tables of their own: YOLOR-CSP
and YOLOR-W6 as their papers describe them. What is no network but a way of training stands in the recipes,
``configs/ablations/*.toml``.
"""

from dataclasses import replace
from fractions import Fraction

from training.nets import p5, p6
from training.nets.rows import (
    BlockSpec,
    Concat,
    Conv,
    Csp,
    DownC,
    Elan,
    PoolDown,
    RepConv,
    Row,
    SpaceToDepth,
    SppCspc,
    TinySpp,
    TopDown,
)
from training.nets.variants import VARIANTS, PaperFigures, Variant

_ONE = Fraction(1)


def scaled(
    rows: tuple[Row, ...], *, transitions: Fraction = _ONE, blocks: Fraction = _ONE, depth: Fraction = _ONE
) -> tuple[Row, ...]:
    """Scale a table: the width of transitions, the width inside of blocks, the depth of blocks.

    The paper's compound scaling (section 3.2) leaves the inside of blocks as wide as it was. Results are whole numbers
    for the factors used here; what is left over is cut off.
    """

    def scale(block: BlockSpec) -> BlockSpec:
        match block:
            case Elan(hidden, out, links, width=width):
                width = None if width is None else int(width * blocks)
                hidden, out, links = int(hidden * blocks), int(out * transitions), int(links * depth)
                return replace(block, hidden=hidden, out=out, depth=links, width=width)
            case Csp(hidden, out, links):
                hidden, out, links = int(hidden * blocks), int(out * transitions), int(links * depth)
                return replace(block, hidden=hidden, out=out, depth=links)
            case Conv(out) | RepConv(out) | DownC(out) | SppCspc(out) | TinySpp(out):
                return replace(block, out=int(out * transitions))
            case PoolDown(hidden) | TopDown(hidden):
                return replace(block, hidden=int(hidden * transitions))
        return block

    return tuple(replace(row, block=scale(row.block)) for row in rows)


def _with_rep(rows: tuple[Row, ...], links: tuple[int, ...]) -> tuple[Row, ...]:
    """Re-parameterise the same links of every ELAN."""
    return tuple(
        replace(row, block=replace(row.block, rep=links)) if isinstance(row.block, Elan) else row for row in rows
    )


def _with_dark(rows: tuple[Row, ...], *, reverse: bool, rep: bool) -> tuple[Row, ...]:
    """Change the dark blocks of every residual stage."""
    return tuple(
        replace(row, block=replace(row.block, reverse=reverse, rep=rep))
        if isinstance(row.block, Csp) and row.block.residual
        else row
        for row in rows
    )


# Table 3's base. X is its compound scaling, by 1.5 in depth and 1.25 in the width of transitions; so this is X, undone.
X_LIGHT = scaled(p5.X, transitions=Fraction(4, 5), depth=Fraction(2, 3))

# Table 4's: three stacks of two convolutions in each ELAN.
_ELAN3 = scaled(X_LIGHT, depth=Fraction(3, 2))

_YOLOR_CSP = (
    Row("stem", Conv(32)),
    Row("c1_down", Conv(64, stride=2)),
    Row("c1", Csp(32, 64, depth=1)),
    Row("c2_down", Conv(128, stride=2)),
    Row("c2", Csp(64, 128, depth=2)),
    Row("c3_down", Conv(256, stride=2)),
    Row("c3", Csp(128, 256, depth=8)),
    Row("c4_down", Conv(512, stride=2)),
    Row("c4", Csp(256, 512, depth=8)),
    Row("c5_down", Conv(1024, stride=2)),
    Row("c5", Csp(512, 1024, depth=4)),
    Row("top", SppCspc(512)),
    Row("f4_join", TopDown(256), ("top", "c4")),
    Row("f4", Csp(256, 256, depth=2, residual=False)),
    Row("f3_join", TopDown(128), ("f4", "c3")),
    Row("f3", Csp(128, 128, depth=2, residual=False)),
    Row("n4_down", Conv(256, stride=2)),
    Row("n4_join", Concat(), ("n4_down", "f4")),
    Row("n4", Csp(256, 256, depth=2, residual=False)),
    Row("n5_down", Conv(512, stride=2)),
    Row("n5_join", Concat(), ("n5_down", "top")),
    Row("n5", Csp(512, 512, depth=2, residual=False)),
    Row("lead3", Conv(256), ("f3",)),
    Row("lead4", Conv(512), ("n4",)),
    Row("lead5", Conv(1024), ("n5",)),
)

_YOLOR_W6 = (
    Row("patches", SpaceToDepth()),
    Row("stem", Conv(64)),
    Row("c2_down", Conv(128, stride=2)),
    Row("c2", Csp(64, 128, depth=3)),
    Row("c3_down", Conv(256, stride=2)),
    Row("c3", Csp(128, 256, depth=7)),
    Row("c4_down", Conv(512, stride=2)),
    Row("c4", Csp(256, 512, depth=7)),
    Row("c5_down", Conv(768, stride=2)),
    Row("c5", Csp(384, 768, depth=3)),
    Row("c6_down", Conv(1024, stride=2)),
    Row("c6", Csp(512, 1024, depth=3)),
    Row("top", SppCspc(512)),
    Row("f5_join", TopDown(384), ("top", "c5")),
    Row("f5", Csp(384, 384, depth=3, residual=False, after_entry=True)),
    Row("f4_join", TopDown(256), ("f5", "c4")),
    Row("f4", Csp(256, 256, depth=3, residual=False, after_entry=True)),
    Row("f3_join", TopDown(128), ("f4", "c3")),
    Row("f3", Csp(128, 128, depth=3, residual=False, after_entry=True)),
    Row("n4_down", Conv(256, stride=2)),
    Row("n4_join", Concat(), ("n4_down", "f4")),
    Row("n4", Csp(256, 256, depth=3, residual=False, after_entry=True)),
    Row("n5_down", Conv(384, stride=2)),
    Row("n5_join", Concat(), ("n5_down", "f5")),
    Row("n5", Csp(384, 384, depth=3, residual=False, after_entry=True)),
    Row("n6_down", Conv(512, stride=2)),
    Row("n6_join", Concat(), ("n6_down", "top")),
    Row("n6", Csp(512, 512, depth=3, residual=False, after_entry=True)),
    Row("lead3", Conv(256), ("f3",)),
    Row("lead4", Conv(512), ("n4",)),
    Row("lead5", Conv(768), ("n5",)),
    Row("lead6", Conv(1024), ("n6",)),
)


def _variant(
    base: str, name: str, paper: PaperFigures, *, rows: tuple[Row, ...], aux_rows: tuple[Row, ...] = ()
) -> Variant:
    """The size, anchors, strides and taps of ``base`` with other rows."""
    return replace(VARIANTS[base], name=name, paper=paper, rows=rows, aux_rows=aux_rows)


def _ap(value: float | None) -> PaperFigures:
    return PaperFigures(None, None, value)


ABLATIONS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        # Table 3; its last row is X itself.
        _variant("x", "x-light", PaperFigures(47.0, 125.5, 51.7), rows=X_LIGHT),
        _variant(
            "x",
            "x-light-wide",
            PaperFigures(73.4, 195.5, 52.4),
            rows=scaled(X_LIGHT, transitions=Fraction(5, 4), blocks=Fraction(5, 4)),
        ),
        _variant("x", "x-light-deep", PaperFigures(69.3, 187.6, 52.7), rows=scaled(X_LIGHT, depth=Fraction(2))),
        # Table 4. Links 0 and 1 are the first stack; of each stack the second link is concatenated.
        _variant("x", "elan3", _ap(52.26), rows=_ELAN3),
        _variant("x", "elan3-rep-all", _ap(None), rows=_with_rep(_ELAN3, (0, 1, 2, 3, 4, 5))),
        _variant("x", "elan3-rep-inner", _ap(None), rows=_with_rep(_ELAN3, (0, 2, 4))),
        _variant("x", "elan3-rep-joined", _ap(None), rows=_with_rep(_ELAN3, (1, 3, 5))),
        _variant("x", "elan3-rep-first", _ap(None), rows=_with_rep(_ELAN3, (0, 1))),
        _variant("x", "elan3-rep-last", _ap(None), rows=_with_rep(_ELAN3, (4, 5))),
        # Table 5; sizes from tables 1 and 2.
        _variant("w6", "yolor-w6", PaperFigures(79.8, 453.2, 54.82), rows=_YOLOR_W6),
        _variant("w6", "yolor-w6-rep", _ap(54.67), rows=_with_dark(_YOLOR_W6, reverse=False, rep=True)),
        _variant("w6", "yolor-w6-reversed", _ap(54.36), rows=_with_dark(_YOLOR_W6, reverse=True, rep=False)),
        _variant("w6", "yolor-w6-reversed-rep", _ap(54.85), rows=_with_dark(_YOLOR_W6, reverse=True, rep=True)),
        _variant("v7", "yolor-csp", PaperFigures(52.9, 120.4, 50.81), rows=_YOLOR_CSP),
        _variant("v7", "yolor-csp-reversed-rep", _ap(50.91), rows=_with_dark(_YOLOR_CSP, reverse=True, rep=True)),
        # Tables 6 and 7 without an auxiliary head; with one they are E6 itself, trained in other ways.
        _variant("e6", "e6-lead", PaperFigures(97.2, 515.2, 55.6), rows=p6.E6),
        # Table 8; its last row is E6E itself. A full head reads the sum of each pair of ELANs.
        _variant("e6e", "e6e-lead", PaperFigures(151.7, 843.2, 56.3), rows=p6.E6E),
        _variant("e6e", "e6e-full", PaperFigures(151.7, 843.2, 56.5), rows=p6.E6E, aux_rows=p6.E6_AUX),
    )
}


def find_variant(name: str) -> Variant | None:
    """Find a member of the family or a network of the ablations by its name."""
    return VARIANTS.get(name) or ABLATIONS.get(name)
