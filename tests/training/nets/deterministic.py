"""The weights of the golden forwards, made from the official key names alone (a support module, no tests)."""

import zlib

import numpy as np
import torch
from numpy.typing import NDArray

from training.nets import Network

GAINS = {"tiny": 2.3, "tiny-silu": 2.6, "v7": 2.6, "x": 2.5, "w6": 2.6, "e6": 2.6, "d6": 2.5, "e6e": 2.22}


def fill(network: Network) -> int:
    """Fill an unfused network in place; return the CRC-32 over its tensors in order of official name."""
    state = network.state_dict()
    crc = 0
    for key, official in sorted(network.official_keys().items(), key=lambda pair: pair[1]):
        if official.endswith(("anchors", "anchor_grid", "num_batches_tracked")):
            continue
        value = values(official, tuple(state[key].shape), GAINS[network.variant.name])
        crc = zlib.crc32(value.tobytes(), crc)
        state[key].copy_(torch.from_numpy(value))
    return crc


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


def golden_input(side: int) -> torch.Tensor:
    """The input of the golden forwards, (1, 3, side, side) in 0..1."""
    return torch.from_numpy(np.random.default_rng(7).random((1, 3, side, side)).astype(np.float32))
