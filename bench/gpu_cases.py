"""What bench/gpu.py measures, and in which order: what matters most comes first, since time may run out.

A block is measured in interleaved rounds, so what is compared stands in one block; the first case of a block of one
variant is what the others are compared with, even where it was measured before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from training.nets import VARIANTS

Precision = Literal["fp16", "bf16", "tf32", "fp32"]
Runner = Literal["graph", "compiled", "tensorrt", "eager"]
Scope = Literal["engine", "pictures"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RUNNERS: tuple[Runner, ...] = get_args(Runner)
SCOPES: tuple[Scope, ...] = get_args(Scope)

INCLUDES: dict[Scope, str] = {
    "engine": "network, decode and top-k of bytes on the card; no NMS, no copies",
    "pictures": "JPEG decode, letterbox, copies, network, decode and top-k, NMS",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the result. shape_hw: of the network's input."""

    variant: str
    shape_hw: tuple[int, int]
    batch: int
    precision: Precision
    runner: Runner
    scope: Scope = "engine"

    @property
    def shape(self) -> str:
        """As HxW."""
        return "x".join(map(str, self.shape_hw))

    @property
    def key(self) -> str:
        """What tells it from every other case, for people too."""
        return f"{self.variant} {self.shape} batch {self.batch} {self.precision} {self.runner} {self.scope}"


@dataclass(frozen=True, slots=True)
class Block:
    """Cases that are measured together."""

    title: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Menu:
    """What there is to choose from; of each the most important first. shapes_hw: none for each variant's own."""

    variants: Sequence[str]
    batches: Sequence[int]
    precisions: Sequence[Precision]
    runners: Sequence[Runner]
    scopes: Sequence[Scope] = SCOPES
    shapes_hw: Sequence[tuple[int, int]] = ()

    def shapes_of(self, variant: str) -> tuple[tuple[int, int], ...]:
        """The paper's square, and the rectangle that frames of 16:9 fill; for tiny also the paper's smaller squares."""
        side = VARIANTS[variant].image_size
        smaller = ((416, 416), (320, 320)) if variant == "tiny" else ()
        return tuple(self.shapes_hw) or ((side, side), (side * 3 // 5, side), *smaller)

    def first(self, variant: str) -> Case:
        """The most important case of a variant."""
        return Case(variant, self.shapes_of(variant)[0], self.batches[0], self.precisions[0], self.runners[0])


def plan(menu: Menu) -> Iterator[Block]:
    """Every block, the most important first; each has a case that no block before it has."""
    seen: set[Case] = set()
    for block in _blocks(menu):
        cases = tuple(dict.fromkeys(case for case in block.cases if case.scope in menu.scopes))
        if not seen.issuperset(cases):
            yield Block(block.title, cases)
        seen.update(cases)


def _blocks(menu: Menu) -> Iterator[Block]:
    """In order of importance. Overlaps, and may be empty."""
    firsts = [menu.first(name) for name in menu.variants]
    for side in dict.fromkeys(VARIANTS[name].image_size for name in menu.variants):  # the smaller ones share a block
        group = tuple(case for case in firsts if VARIANTS[case.variant].image_size == side)
        yield Block(f"batch {menu.batches[0]} of all", group)
    for first in firsts:
        yield Block("larger batches", tuple(replace(first, batch=batch) for batch in menu.batches[1:3]))
    for first in firsts:
        pictures = replace(first, scope="pictures")
        yield Block("end to end", tuple(replace(pictures, batch=batch) for batch in menu.batches[:2]))
    for first in firsts:
        yield Block("runners", tuple(replace(first, runner=runner) for runner in menu.runners))
    for first in firsts:
        yield Block("precisions", tuple(replace(first, precision=precision) for precision in menu.precisions))
    for first in firsts:
        for batch in menu.batches[1:2]:
            larger = replace(first, batch=batch)
            yield Block("runners, larger batch", tuple(replace(larger, runner=runner) for runner in menu.runners))
    yield from _rest(menu, firsts)


def _rest(menu: Menu, firsts: Sequence[Case]) -> Iterator[Block]:
    """Everything else: all that combines, two batches at a time, since all must lie in memory together."""
    for index in range(max((len(menu.shapes_of(case.variant)) for case in firsts), default=0)):
        for first in firsts:
            for shape_hw in menu.shapes_of(first.variant)[index : index + 1]:
                for precision in menu.precisions:
                    case = replace(first, shape_hw=shape_hw, precision=precision)
                    for start in range(0, len(menu.batches), 2):
                        pair = menu.batches[start : start + 2]
                        yield Block("the rest", tuple(replace(case, batch=batch) for batch in pair))
