"""Whole training steps from deterministic weights: network, criterion, optimiser and average against the reference."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import Loss, Optimizer
from training.losses import Criterion
from training.nets import VARIANTS, Network, build_network
from training.optim import Ema, build_optimizer, parameter_groups

GAINS = {"tiny": 2.3, "v7": 2.6}
TERMS = ("box", "objectness", "classification")
VARIANT_NAMES = ["tiny", pytest.param("v7", marks=pytest.mark.long)]


def drawn(official: str, shape: tuple[int, ...], gain: float) -> NDArray[np.float64]:
    """Draw one tensor by the recipe of the goldens, seeded by its official name."""
    rng = np.random.default_rng(zlib.crc32(official.encode()))
    match official.rpartition(".")[2]:
        case "running_mean":
            return 0.1 * rng.standard_normal(shape)
        case "bias":
            return 0.2 * rng.standard_normal(shape)
        case "implicit":
            return (".im." in official) + 0.1 * rng.standard_normal(shape)
        case "weight" if len(shape) == 4:
            weight = rng.standard_normal(shape)
            weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
            return weight * np.sqrt(gain / np.prod(shape[1:]))
    return rng.uniform(0.5, 1.5, shape)


@dataclass
class Training:
    """A run of the reference's settings, in the reference's names."""

    meta: dict[str, Any]
    network: Network
    criterion: Criterion
    ema: Ema[Network]
    optimizer: torch.optim.SGD
    raw: list[Tensor] = field(default_factory=list)  # outputs of the latest step
    items: list[float] = field(default_factory=list)  # weighted terms of the latest step
    norms: list[float] = field(default_factory=list)  # gradient norms of the latest step

    def step(self, number: int) -> None:
        images, targets = batch(self.meta, number)
        self.optimizer.zero_grad()
        self.raw = self.network(images)
        terms = self.criterion(self.raw, targets, images.shape[2:])
        weighted = [self.criterion.weights[name] * terms[name] for name in TERMS]
        (sum(weighted) * len(images)).backward()
        self.items = [*(term.item() for term in weighted), sum(weighted).item()]
        parameters = self.in_official_order(dict(self.network.named_parameters()), self.meta["param_keys"])
        self.norms = [parameter.grad.norm().item() for parameter in parameters]
        self.optimizer.step()
        self.ema.update(self.network)

    def in_official_order(self, tensors: dict[str, Tensor], keys: list[str]) -> list[Tensor]:
        ours = {official: key for key, official in self.network.official_keys().items()}
        return [tensors[ours[key]] for key in keys]


def batch(meta: dict[str, Any], number: int) -> tuple[Tensor, Tensor]:
    images, side, count = meta["B"], meta["S"], meta["nt"]
    pixels = np.random.default_rng(meta["seed"] + number).random((images, 3, side, side))
    rng = np.random.default_rng(meta["seed"] + 100 + number)
    image = np.sort(rng.integers(0, images, count))
    label = rng.integers(0, 80, count)
    extent = np.exp(rng.uniform(np.log(0.02), np.log(0.7), (count, 2)))
    centre = rng.uniform(0.02, 0.98, (count, 2))
    targets = np.column_stack((np.where(image == 2, 1, image), label, centre, extent))
    return torch.from_numpy(pixels.astype(np.float32)), torch.from_numpy(targets.astype(np.float32))


def start(meta: dict[str, Any]) -> Training:
    name = meta["variant"]
    network = build_network(VARIANTS[name], num_classes=80)
    state = network.state_dict()
    for key, official in network.official_keys().items():
        if not official.endswith(("anchors", "anchor_grid", "num_batches_tracked")):
            value = drawn(official, tuple(state[key].shape), GAINS[name])
            state[key].copy_(torch.from_numpy(value.astype(np.float32)))
    gains = {"objectness": 1.0, "classification": 0.5} if name == "tiny" else {}
    strides, anchors_px = network.strides, network.anchors
    return Training(
        meta,
        network.train(),
        Criterion(Loss(**gains), num_classes=80, strides=strides, anchors_px=anchors_px, image_size=meta["S"]),
        Ema(network, decay=meta["ema_decay"], tau=meta["ema_tau"]),
        build_optimizer(network, Optimizer(), batch_size=64),
    )


@pytest.fixture(scope="module", params=VARIANT_NAMES)
def steps(request: pytest.FixtureRequest, golden: Path) -> Iterator[tuple[Training, dict[str, Any]]]:
    """A fresh run and the reference's numbers."""
    meta = json.loads((golden / f"train_{request.param}.json").read_text())
    with np.load(golden / f"train_{request.param}.npz") as numbers:
        yield start(meta), dict(numbers)


def assert_near(ours: Any, theirs: NDArray[Any], tolerance: float) -> None:
    """Compare relative to magnitude plus one, as the goldens' tolerances are meant."""
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    np.testing.assert_array_less(np.abs(ours - theirs) / (np.abs(theirs) + 1), tolerance)


def test_parameter_groups_are_the_references(steps: tuple[Training, dict[str, Any]]) -> None:
    run, _ = steps
    names = {id(parameter): key for key, parameter in run.network.named_parameters()}
    official = run.network.official_keys()
    for number, group in enumerate(parameter_groups(run.network, 0.0005)):
        ours = {official[names[id(parameter)]] for parameter in group["params"]}
        assert ours == set(run.meta[f"group{number}"])
        assert group["weight_decay"] == (0.0005 if number == 1 else 0)


def sums(run: Training, network: Network) -> NDArray[np.float64]:
    """Sum and absolute sum of each tensor, counters as zero (the reference's start at 1): (tensors, 2)."""
    tensors = run.in_official_order(network.state_dict(), run.meta["state_keys"])
    doubles = [tensor.double() * tensor.is_floating_point() for tensor in tensors]
    return np.array([[tensor.sum().item(), tensor.abs().sum().item()] for tensor in doubles])


def test_first_steps_are_the_references(steps: tuple[Training, dict[str, Any]]) -> None:
    run, numbers = steps
    run.step(0)
    for i, raw in enumerate(run.raw):
        assert_near(raw.detach().flatten()[numbers[f"raw{i}_pos"]], numbers[f"raw{i}"], 1e-3)
    assert_near(run.items, run.meta["steps"][0]["items"], 1e-4)
    assert_near(run.norms, numbers["gnorm0"], 1e-3)
    counted = np.array([not key.endswith("num_batches_tracked") for key in run.meta["state_keys"]])
    for prefix, network in (("p", run.network), ("e", run.ema.network)):
        theirs = np.column_stack((numbers[f"{prefix}sum0"], numbers[f"{prefix}abs0"])) * counted[:, None]
        assert_near(sums(run, network), theirs, 1e-3)
    # Noise of 1e-7 in these weights moves the second loss by up to 3 %, and the third by a third.
    run.step(1)
    assert_near(run.items, run.meta["steps"][1]["items"], 5e-2)
