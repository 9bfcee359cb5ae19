import pytest

from training.nets.rows import (
    IMAGE,
    Concat,
    Conv,
    DownC,
    Elan,
    Feature,
    GraphError,
    Pool,
    PoolDown,
    Row,
    SpaceToDepth,
    Sum,
    TopDown,
    interpret,
)

STEM = Row("stem", Conv(8, stride=2))


def test_channels_and_strides_are_inferred() -> None:
    rows = (Row("patches", SpaceToDepth()), STEM, Row("c", Elan(4, 6, depth=2)), Row("d", Pool()))
    assert [step.output for step in interpret(rows, ("d",))] == [
        Feature(12, 2),
        Feature(8, 4),
        Feature(6, 4),
        Feature(6, 8),
    ]


def test_a_row_without_sources_reads_the_row_above_and_the_first_the_image() -> None:
    assert [step.sources for step in interpret((STEM, Row("d", Pool())), ("d",))] == [(IMAGE,), ("stem",)]


def test_joined_maps_add_their_channels() -> None:
    rows = (STEM, Row("low", Pool()), Row("down", PoolDown(3), ("stem", "low")), Row("all", Concat(), ("down", "low")))
    assert interpret(rows, ("all",))[-1].output == Feature(2 * 3 + 8 + 8, 4)


def test_a_map_is_dropped_at_its_last_reader_unless_the_head_reads_it() -> None:
    rows = (STEM, Row("a", Conv(8)), Row("b", Conv(8)), Row("sum", Sum(), ("a", "b")))
    assert [step.last_read for step in interpret(rows, ("sum", "a"))] == [(IMAGE,), ("stem",), (), ("b",)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row("stem", Conv(8)), "row stem: the name is taken"),
        (Row("x", Conv(8), ("stme",)), "row x: reads 'stme', which no row above is called"),
        (Row("x", Conv(8), ("x",)), "row x: reads 'x', which no row above is called"),
        (Row("x", Conv(8), ("stem", "low")), "row x: .* cannot be made of"),
        (Row("x", Sum(), ("stem", "low")), "row x: .*8 channels at stride 2, 8 channels at stride 4"),
        (Row("x", Sum()), "row x: Sum"),
        (Row("x", Concat(), ("stem", "low")), "row x: Concat"),
        (Row("x", TopDown(4), ("stem", "low")), "row x: TopDown"),
        (Row("x", PoolDown(4), ("low", "stem")), "row x: PoolDown"),
        (Row("x", DownC(7)), "row x: DownC"),
        (Row("x", Elan(4, 8, depth=3, step=2)), "row x: Elan"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(row: Row, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        interpret((STEM, Row("low", Pool()), row), ("x", "low", "stem"))


def test_a_row_that_nobody_reads_is_refused() -> None:
    with pytest.raises(GraphError, match="row dead: nobody reads it"):
        interpret((STEM, Row("dead", Pool()), Row("x", Conv(8), ("stem",))), ("x",))


def test_a_tap_that_is_no_row_is_refused() -> None:
    with pytest.raises(GraphError, match="the head reads 'lead3'"):
        interpret((STEM,), ("stem", "lead3"))
