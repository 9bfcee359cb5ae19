"""The vocabulary of network tables, and the check that a table fits together.

A Row names a block, what it reads and how wide it is; blocks are plain values, and the widths of inputs are never
written but inferred. Nothing here knows a tensor: graph.py turns tables into modules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

IMAGE = "image"


class GraphError(ValueError):
    """A network table that does not fit together; the message names the row."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A 3x3 convolution, batch normalisation, activation."""

    out: int
    stride: int = 1


@dataclass(frozen=True, slots=True)
class RepConv:
    """A 3x3 convolution that has parallel branches while training."""

    out: int


@dataclass(frozen=True, slots=True)
class Elan:
    """Layer aggregation: ``depth`` 3x3 convolutions of ``width`` (None: ``hidden``), every ``step``-th of them kept.

    Those numbered in ``rep``, from 0, have a parallel 1x1 branch while training.
    """

    hidden: int
    out: int
    depth: int
    step: int = 1
    width: int | None = None
    rep: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Csp:
    """Cross-stage-partial: ``depth`` dark blocks of ``hidden`` channels, and a way round them.

    The way round starts at the input or ``after_entry``, the 1x1 convolution before the blocks. Reversed, a block's 3x3
    convolution comes first; ``rep`` gives it parallel branches while training.
    """

    hidden: int
    out: int
    depth: int
    residual: bool = True
    after_entry: bool = False
    reverse: bool = False
    rep: bool = False


@dataclass(frozen=True, slots=True)
class Sum:
    """Two equal maps, added."""


@dataclass(frozen=True, slots=True)
class Concat:
    """Maps of one stride, joined on channels in the order given."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Max pooling 2x2."""


@dataclass(frozen=True, slots=True)
class SpaceToDepth:
    """Patches of 2x2 become channels."""


@dataclass(frozen=True, slots=True)
class PoolDown:
    """Halved along two branches of ``hidden`` channels; further sources, already of that size, are joined."""

    hidden: int


@dataclass(frozen=True, slots=True)
class DownC:
    """Halved along two branches of half of ``out`` each."""

    out: int


@dataclass(frozen=True, slots=True)
class TopDown:
    """The upper map enlarged and a lateral one, ``hidden`` channels each, joined."""

    hidden: int


@dataclass(frozen=True, slots=True)
class SppCspc:
    """Pyramid pooling in a cross-stage-partial block."""

    out: int


@dataclass(frozen=True, slots=True)
class TinySpp:
    """The same with 1x1 convolutions only."""

    out: int


BlockSpec = (
    Conv | RepConv | Elan | Csp | Sum | Concat | Pool | SpaceToDepth | PoolDown | DownC | TopDown | SppCspc | TinySpp
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a network table. Without ``sources`` it reads the row above; the first one reads the image."""

    name: str
    block: BlockSpec
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature map as the tables see it: channels, and how many pixels of the image a cell spans."""

    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class Step:
    """A row that has been checked: what it reads, what it makes, and which maps nobody reads after it."""

    row: Row
    sources: tuple[str, ...]
    inputs: tuple[Feature, ...]
    output: Feature
    last_read: tuple[str, ...]


def interpret(rows: Sequence[Row], taps: Sequence[str]) -> tuple[Step, ...]:
    """Walk a table whose rows ``taps`` are read by the head. Raises GraphError naming the row that does not fit."""
    reads = [row.sources or (above,) for row, above in zip(rows, [IMAGE, *(row.name for row in rows)], strict=False)]
    last = {source: row.name for row, sources in zip(rows, reads, strict=True) for source in sources}
    features = {IMAGE: Feature(3, 1)}
    steps = []
    for row, sources in zip(rows, reads, strict=True):
        if row.name in features:
            raise GraphError(f"row {row.name}: the name is taken")
        if row.name not in last and row.name not in taps:
            raise GraphError(f"row {row.name}: nobody reads it")
        if unknown := [source for source in sources if source not in features]:
            raise GraphError(f"row {row.name}: reads {unknown[0]!r}, which no row above is called")
        inputs = tuple(features[source] for source in sources)
        features[row.name] = _infer(row, inputs)
        done = tuple(name for name in dict.fromkeys(sources) if last[name] == row.name and name not in taps)
        steps.append(Step(row, sources, inputs, features[row.name], done))
    if unknown := [tap for tap in taps if tap not in features]:
        raise GraphError(f"the head reads {unknown[0]!r}, which no row is called")
    return tuple(steps)


def _infer(row: Row, inputs: tuple[Feature, ...]) -> Feature:
    """The feature map that a row makes of its inputs. Raises GraphError."""
    match row.block, inputs:
        case Conv(out, stride), (x,):
            return Feature(out, x.stride * stride)
        case ((RepConv(out) | Csp(_, out) | SppCspc(out) | TinySpp(out)), (x,)):
            return Feature(out, x.stride)
        case Elan(_, out, depth, step, _, rep), (x,) if depth % step == 0 and set(rep) <= set(range(depth)):
            return Feature(out, x.stride)
        case Pool(), (x,):
            return Feature(x.channels, x.stride * 2)
        case SpaceToDepth(), (x,):
            return Feature(x.channels * 4, x.stride * 2)
        case DownC(out), (x,) if out % 2 == 0:
            return Feature(out, x.stride * 2)
        case PoolDown(hidden), (x, *others) if {other.stride for other in others} <= {x.stride * 2}:
            return Feature(2 * hidden + sum(other.channels for other in others), x.stride * 2)
        case TopDown(hidden), (upper, lateral) if upper.stride == 2 * lateral.stride:
            return Feature(2 * hidden, lateral.stride)
        case Sum(), (first, second) if first == second:
            return first
        case Concat(), (first, *others) if {other.stride for other in others} == {first.stride}:
            return Feature(sum(x.channels for x in inputs), first.stride)
    maps = ", ".join(f"{x.channels} channels at stride {x.stride}" for x in inputs)
    raise GraphError(f"row {row.name}: {row.block} cannot be made of ({maps})")
