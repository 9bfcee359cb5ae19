"""The vocabulary of network tables: a Row names a block, what it reads and how wide it is.

A row's block is a frozen value that can say which feature map it makes of its inputs (``infer``, where mistakes are refused) and build the module that does so (``build``). It knows no weights and no
variants; inputs' channels are never written in a table but inferred.
"""

from dataclasses import dataclass
from typing import Protocol

from training.nets import blocks, pyramid, reparam
from training.nets.blocks import Activation, Block


class GraphError(ValueError):
    """A network table that does not fit together: the message names the row."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature map as the tables see it: channels, and how many image pixels a cell spans."""

    channels: int
    stride: int


Inputs = tuple[Feature, ...]


class BlockSpec(Protocol):
    """What stands in a row."""

    def infer(self, inputs: Inputs) -> Feature:
        """Return the feature map made of ``inputs``. Raises GraphError."""

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        """Return the module, with fresh weights."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a network table. Without ``sources`` it reads the row above (the first one: the image)."""

    name: str
    block: BlockSpec
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conv:
    """A ConvBlock; 3x3 unless said otherwise."""

    out: int
    kernel: int = 3
    stride: int = 1

    def infer(self, inputs: Inputs) -> Feature:
        return Feature(self.out, _only(inputs).stride * self.stride)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        channels = inputs[0].channels
        return blocks.ConvBlock(channels, self.out, kernel=self.kernel, stride=self.stride, activation=activation)


@dataclass(frozen=True, slots=True)
class RepConv:
    """A re-parameterised 3x3 convolution."""

    out: int

    def infer(self, inputs: Inputs) -> Feature:
        return Feature(self.out, _only(inputs).stride)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return reparam.RepConv(inputs[0].channels, self.out, activation)


@dataclass(frozen=True, slots=True)
class Elan:
    """An ELAN: ``depth`` 3x3 convolutions of ``width`` (``hidden`` where 0), every ``step``-th kept."""

    hidden: int
    out: int
    depth: int
    step: int = 1
    width: int = 0

    def infer(self, inputs: Inputs) -> Feature:
        if self.depth % self.step:
            raise GraphError(f"{self.depth} convolutions cannot be kept by {self.step}s")
        return Feature(self.out, _only(inputs).stride)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.Elan(
            inputs[0].channels,
            self.out,
            hidden=self.hidden,
            width=self.width or self.hidden,
            depth=self.depth,
            step=self.step,
            activation=activation,
        )


@dataclass(frozen=True, slots=True)
class Sum:
    """Two maps of one shape, added."""

    def infer(self, inputs: Inputs) -> Feature:
        if len(inputs) != 2 or inputs[0] != inputs[1]:
            raise GraphError(f"a sum needs two equal maps, not {_shown(inputs)}")
        return inputs[0]

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.Sum()


@dataclass(frozen=True, slots=True)
class Concat:
    """Maps of one stride, joined on channels in the order given."""

    def infer(self, inputs: Inputs) -> Feature:
        return _joined(inputs)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.Concat()


@dataclass(frozen=True, slots=True)
class Pool:
    """Max pooling 2x2."""

    def infer(self, inputs: Inputs) -> Feature:
        return Feature(_only(inputs).channels, inputs[0].stride * 2)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.Pool()


@dataclass(frozen=True, slots=True)
class SpaceToDepth:
    """2x2 patches to channels."""

    def infer(self, inputs: Inputs) -> Feature:
        return Feature(_only(inputs).channels * 4, inputs[0].stride * 2)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.SpaceToDepth()


@dataclass(frozen=True, slots=True)
class PoolDown:
    """Halved along two branches of ``hidden`` channels; further sources, already at the lower resolution, are joined."""

    hidden: int

    def infer(self, inputs: Inputs) -> Feature:
        return _joined((Feature(2 * self.hidden, inputs[0].stride * 2), *inputs[1:]))

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.PoolDown(inputs[0].channels, self.hidden, activation)


@dataclass(frozen=True, slots=True)
class DownC:
    """Halved along two branches of half of ``out`` each."""

    out: int

    def infer(self, inputs: Inputs) -> Feature:
        if self.out % 2:
            raise GraphError(f"two branches cannot share {self.out} channels")
        return Feature(self.out, _only(inputs).stride * 2)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.DownC(inputs[0].channels, self.out, activation)


@dataclass(frozen=True, slots=True)
class TopDown:
    """The upper map enlarged and the lateral one, ``hidden`` channels each, joined."""

    hidden: int

    def infer(self, inputs: Inputs) -> Feature:
        if len(inputs) != 2 or inputs[0].stride != 2 * inputs[1].stride:
            raise GraphError(f"needs an upper map and a lateral one of half its stride, not {_shown(inputs)}")
        return Feature(2 * self.hidden, inputs[1].stride)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return blocks.TopDown(inputs[0].channels, inputs[1].channels, self.hidden, activation)


@dataclass(frozen=True, slots=True)
class SppCspc:
    """Pyramid pooling in a cross-stage-partial block."""

    out: int

    def infer(self, inputs: Inputs) -> Feature:
        return Feature(self.out, _only(inputs).stride)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return pyramid.SppCspc(inputs[0].channels, self.out, activation)


@dataclass(frozen=True, slots=True)
class TinySpp:
    """The same with 1x1 convolutions only."""

    out: int

    def infer(self, inputs: Inputs) -> Feature:
        return Feature(self.out, _only(inputs).stride)

    def build(self, inputs: Inputs, activation: Activation) -> Block:
        return pyramid.TinySpp(inputs[0].channels, self.out, activation)


def _only(inputs: Inputs) -> Feature:
    if len(inputs) != 1:
        raise GraphError(f"reads one map, not {_shown(inputs)}")
    return inputs[0]


def _joined(inputs: Inputs) -> Feature:
    if len({feature.stride for feature in inputs}) != 1:
        raise GraphError(f"maps of different strides cannot be joined: {_shown(inputs)}")
    return Feature(sum(feature.channels for feature in inputs), inputs[0].stride)


def _shown(inputs: Inputs) -> str:
    return ", ".join(f"{feature.channels} channels at stride {feature.stride}" for feature in inputs) or "none"
