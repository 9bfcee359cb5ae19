"""The golden forwards' weights and input, made from official key names alone, and a variant that costs nothing."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.nets import VARIANTS, Network, Variant, build_network
from training.nets.rows import Concat, Conv, DownC, Elan, RepConv, Row, SpaceToDepth, SppCspc, Sum, TopDown
from training.nets.variants import Form, PaperFigures

_GAINS = {"tiny": 2.3, "tiny-silu": 2.6, "v7": 2.6, "x": 2.5, "w6": 2.6, "e6": 2.6, "d6": 2.5, "e6e": 2.22, "toy": 2.4}

_ROWS = (
    Row("patches", SpaceToDepth()),
    Row("stem", Conv(8, stride=2)),
    Row("c3", DownC(16)),
    Row("c4_down", Conv(16, stride=2)),
    Row("c4_first", Elan(8, 16, depth=2, step=2), ("c4_down",)),
    Row("c4_second", Elan(8, 16, depth=2, step=2), ("c4_down",)),
    Row("c4", Sum(), ("c4_second", "c4_first")),
    Row("top", SppCspc(8)),
    Row("f3", TopDown(8), ("top", "c3")),
    Row("n4_down", Conv(8, stride=2)),
    Row("n4", Concat(), ("n4_down", "top")),
    Row("lead3", RepConv(16), ("f3",)),
    Row("lead4", Conv(16), ("n4",)),
)


def values(official: str, shape: tuple[int, ...], gain: float) -> NDArray[np.float32]:
    """Draw one tensor from a generator seeded by its official name."""
    rng = np.random.default_rng(zlib.crc32(official.encode("ascii")))
    last = official.rpartition(".")[2]
    if last == "running_mean":
        drawn = 0.1 * rng.standard_normal(shape)
    elif last == "bias":
        drawn = 0.2 * rng.standard_normal(shape)
    elif last == "implicit":
        drawn = (1 if ".im." in official else 0) + 0.1 * rng.standard_normal(shape)
    elif last == "running_var" or len(shape) == 1:
        drawn = rng.uniform(0.5, 1.5, shape)
    else:
        drawn = rng.standard_normal(shape)
        drawn -= drawn.mean(axis=(1, 2, 3), keepdims=True)
        drawn *= np.sqrt(gain / np.prod(shape[1:]))
    return drawn.astype(np.float32)


@pytest.fixture(scope="session")
def fill() -> Callable[[Network], int]:
    """Fill an unfused network in place; the answer is the CRC-32 over its tensors in order of official name."""

    def fill_network(network: Network) -> int:
        state = network.state_dict()
        crc = 0
        for key, official in sorted(network.official_keys().items(), key=lambda pair: pair[1]):
            if not official.endswith(("anchors", "anchor_grid", "num_batches_tracked")):
                value = values(official, tuple(state[key].shape), _GAINS[network.variant.name])
                crc = zlib.crc32(value.tobytes(), crc)
                state[key].copy_(torch.from_numpy(value))
        return crc

    return fill_network


@pytest.fixture(scope="session")
def filled(fill: Callable[[Network], int]) -> Callable[..., Network]:
    """Build a variant with deterministic weights, in evaluation mode."""

    def build(variant: Variant, form: Form = "training", num_classes: int = 80) -> Network:
        network = build_network(variant, num_classes=num_classes, form=form).eval()
        fill(network)
        return network

    return build


@pytest.fixture(scope="session")
def golden_input() -> Callable[[Variant], torch.Tensor]:
    """The input of a variant's golden forward, (1, 3, S, S) in 0..1."""

    def draw(variant: Variant) -> torch.Tensor:
        side = 256 if len(variant.strides) == 3 else 320
        return torch.from_numpy(np.random.default_rng(7).random((1, 3, side, side)).astype(np.float32))

    return draw


@pytest.fixture(scope="session")
def toy() -> Variant:
    """Two levels, most of the vocabulary, one auxiliary level each, and next to no work."""
    return Variant(
        "toy",
        _ROWS,
        ("lead3", "lead4"),
        VARIANTS["tiny"].anchors[:2],
        (8, 16),
        64,
        PaperFigures(0, 0, None),
        (Row("aux3", Conv(8), ("f3",)), Row("aux4", Conv(8), ("c4_second",))),
    )
