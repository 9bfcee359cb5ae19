"""A checkpoint, ready to be scored by one of the two protocols, and what is worth saying of it.

``served``: the graph that is exported, in the shapes that serve. ``paper``: as the reference validates. Either may look
three times (``augmented``).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from service.vision.detections import Detections
from training.checkpoint import Checkpoint, load_network
from training.config import ConfigError
from training.data import CocoDataset, DatasetError
from training.evaluate.augmented import augmented, smallest_shapes
from training.evaluate.paper import detect_paper, paper_infer
from training.evaluate.served import Infer, detect, max_candidates, torch_infer
from training.nets import DeployModel, Network

logger = logging.getLogger(__name__)

Protocol = Literal["served", "paper"]
PROTOCOLS: dict[str, str] = {
    "served": "letterbox to the input shapes, confidence 0.001, IoU 0.65, at most 300, multi-label; float32",
    "paper": "32 images to a rectangle half a stride larger than needed, all predictions above 0.001 (30,000 at most), "
    "IoU 0.65, at most 300, multi-label; float32",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is to be scored. shapes_hw: none for its own. tta: look three times."""

    shapes_hw: tuple[tuple[int, int], ...] = ()
    protocol: Protocol = "served"
    tta: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def check(self, stride: int) -> None:
        """Refuse shapes that a network cannot take. Raises ConfigError."""
        for height, width in self.shapes_hw:
            if min(height, width) < 1 or height % stride or width % stride:
                raise ConfigError(f"{height}x{width}: both sides must be multiples of {stride}")
        if self.protocol == "paper" and (len(self.shapes_hw) > 1 or self.shapes_hw[0][0] != self.shapes_hw[0][1]):
            raise ConfigError("protocol paper takes one square shape, the size that images are scaled to")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What detects, and how: facts are lines of a report, by their headings."""

    name: str
    class_names: tuple[str, ...]
    infer: Infer
    way: Way
    stride: int
    facts: dict[str, str]

    def detect(self, dataset: CocoDataset) -> Iterator[tuple[int, Detections]]:
        """Yield (image id, detections in original pixels). Raises DatasetError, for other classes than the data's."""
        if len(self.class_names) != len(dataset.class_names):
            raise DatasetError(f"{self.name} has {len(self.class_names)} classes, the data {len(dataset.class_names)}")
        for number, (own, given) in enumerate(zip(self.class_names, dataset.class_names, strict=True)):
            if own != given:
                logger.warning("class %d is %r to %s and %r to the data", number, own, self.name, given)
                break
        shapes_hw = self.way.shapes_hw
        if self.way.protocol == "served":
            return detect(self.infer, dataset, shapes_hw=shapes_hw)
        return detect_paper(self.infer, dataset, image_size=shapes_hw[0][0], stride=self.stride)


def open_model(path: Path, way: Way) -> Model:
    """Read a checkpoint; without shapes it is scored at the size it was trained at.

    Raises CheckpointError, ConfigError.
    """
    network, checkpoint = load_network(path)
    stride = network.strides[-1]
    if not way.shapes_hw:
        side = int(checkpoint.config.get("image_size", network.variant.image_size))
        way = replace(way, shapes_hw=((side, side),))
    way.check(stride)
    infer = _infer(network, way)
    return Model(
        name=str(path),
        class_names=checkpoint.class_names,
        infer=augmented(infer, stride) if way.tta else infer,
        way=way,
        stride=stride,
        facts=_facts(network, checkpoint) | describe_way(way),
    )


def describe_way(way: Way) -> dict[str, str]:
    """Say how it is scored."""
    facts = {"input shapes": ", ".join(f"{height}×{width}" for height, width in way.shapes_hw)}
    facts["protocol"] = f"{way.protocol}: {PROTOCOLS[way.protocol]}"
    if way.tta:
        facts["test-time augmentation"] = "three looks: scale 1, 0.83 mirrored, 0.67"
    return facts


def _infer(network: Network, way: Way) -> Infer:
    if way.protocol == "paper":
        return paper_infer(network, way.device)
    shapes = smallest_shapes(way.shapes_hw, network.strides[-1]) if way.tta else way.shapes_hw
    return torch_infer(DeployModel(network, max_candidates(network, shapes)).eval().to(way.device), way.device)


def _facts(network: Network, checkpoint: Checkpoint) -> dict[str, str]:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    trained: dict[str, Any] = checkpoint.config
    facts = {
        "variant": f"YOLOv7 {checkpoint.variant}, {checkpoint.form} form",
        "parameters": f"{parameters:,}",
        "classes": f"{len(checkpoint.class_names)}: {', '.join(checkpoint.class_names[:20])}",
    }
    if checkpoint.epoch:
        facts["taken after epoch"] = f"{checkpoint.epoch} of {trained.get('epochs', '?')}"
    return facts


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, ``cuda:1`` ... Raises ConfigError for one that is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise ConfigError(f"no device is called {name!r}") from exc
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device is {name}, but torch finds {torch.cuda.device_count()} CUDA GPUs here")
    return device
