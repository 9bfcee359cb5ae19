"""The scenes of the loss goldens: seeded predictions, stored targets, and what the reference made of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.assign import Pyramid
from training.config import Loss
from training.losses import Criterion

_STRIDES = (8, 16, 32, 64)
_ANCHORS = {
    "tiny": ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)),
    "v7": ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401)),
    "w6": (
        (19, 27, 44, 40, 38, 94),
        (96, 68, 86, 152, 180, 137),
        (140, 301, 303, 264, 238, 542),
        (436, 615, 739, 380, 925, 792),
    ),
}


@dataclass(frozen=True)
class Scene:
    """One golden loss computation."""

    outputs: list[Tensor]  # leaves that want gradients
    targets: Tensor
    side: int
    criterion: Criterion
    meta: dict[str, Any]
    numbers: dict[str, NDArray[Any]]

    @property
    def lead(self) -> list[Tensor]:
        return self.outputs[: len(self.meta["strides"])]

    @property
    def pyramid(self) -> Pyramid:
        anchors_px, strides = self.criterion.anchors_px, self.criterion.strides
        return Pyramid.of((self.side, self.side), anchors_px=anchors_px, strides=strides)

    def loss(self) -> dict[str, Tensor]:
        return self.criterion(self.outputs, self.targets, (self.side, self.side))


def build(name: str, meta: dict[str, Any], numbers: dict[str, NDArray[Any]]) -> Scene:
    variant, side = meta["variant"], meta["S"]
    gains = {"objectness": 1.0, "classification": 0.5} if variant == "tiny" else {}
    strides = _STRIDES[: len(meta["strides"])]
    outputs = []
    for i in range(meta["n_outputs"]):
        cells = side // strides[i % len(strides)]
        rng = np.random.default_rng(meta["pred_seed"] + i)
        logits = 0.8 * rng.standard_normal((meta["B"], 3, cells, cells, 85))
        outputs.append(torch.from_numpy(logits.astype(np.float32)).requires_grad_())
    criterion = Criterion(
        Loss(assigner="plain" if name.endswith("plain") else "ota", **gains),
        num_classes=80,
        strides=strides,
        anchors_px=torch.tensor(_ANCHORS[variant]).view(len(strides), 3, 2),
        image_size=side,
    )
    return Scene(outputs, torch.from_numpy(numbers["targets"]), side, criterion, meta, numbers)


@pytest.fixture
def scene(golden: Path) -> Callable[[str], Scene]:
    """Build a scene of ``loss_meta.json`` by name."""

    def load(name: str) -> Scene:
        meta = json.loads((golden / "loss_meta.json").read_text())[name]
        with np.load(golden / f"loss_{name}.npz") as numbers:
            return build(name, meta, dict(numbers))

    return load
