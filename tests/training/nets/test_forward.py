"""The networks against numbers that the reference printed for the same weights and input."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.nets import VARIANTS, Network, build_network, decode, fuse

GRAPHS = [
    ("tiny", "train"),
    ("tiny", "deploy"),
    ("tiny-silu", "deploy"),
    ("v7", "train"),
    ("v7", "deploy"),
    pytest.param("w6", "train", marks=pytest.mark.long),
    pytest.param("w6", "deploy", marks=pytest.mark.long),
    pytest.param("d6", "deploy", marks=pytest.mark.long),
]


def difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float(np.max(np.abs(ours - theirs) / (np.abs(theirs) + 1)))


@torch.inference_mode()
@pytest.mark.parametrize(("name", "form"), GRAPHS)
def test_forward_is_the_references(
    name: str,
    form: str,
    golden: Path,
    fill: Callable[[Network], int],
    golden_input: Callable[..., torch.Tensor],
) -> None:
    numbers = np.load(golden / f"fwd_{name}-{form}.npz")
    variant = VARIANTS[name]
    network = build_network(variant, num_classes=80, form="deploy" if form == "deploy" else "training").eval()
    info = json.loads((golden / f"keys_{name}-{form}.json").read_text())["info"]
    assert fill(network) == info["weights_crc32"]
    raws = network(golden_input(variant))
    assert len(raws) == sum(1 for key in numbers.files if key.endswith("_shape"))
    for level, raw in enumerate(raws):
        values = raw.numpy().ravel()
        assert raw.shape == tuple(numbers[f"raw{level}_shape"])
        assert difference(values[numbers[f"raw{level}_pos"]], numbers[f"raw{level}"]) < 1e-3
        assert np.abs(values).mean(dtype=np.float64) == pytest.approx(numbers[f"raw{level}_abs"], rel=1e-4)
    for kind, outputs in (("unfused", raws), ("fused", fuse(network)(golden_input(variant)))):
        decoded = decode(outputs, network.anchors, network.strides).numpy()
        assert decoded.shape == tuple(numbers["shape"])
        assert difference(decoded.ravel()[numbers["pos"]], numbers[kind]) < 1e-3
