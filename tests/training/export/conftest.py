"""A network small enough to be exported in seconds, published once for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from training.checkpoint import Checkpoint, load_network
from training.export import ExportReport, export_checkpoint
from training.export.card import CardFacts
from training.nets import VARIANTS, DeployModel, Variant, build_network
from training.nets.rows import Conv, Row

CLASS_NAMES = ("Ambulance", "Bus | Coach", "Motorcycle")
SHAPES = ((64, 96), (96, 64))
CANDIDATES = 100


@dataclass(frozen=True)
class Published:
    """What the export made of the small network."""

    report: ExportReport
    repository: Path
    checkpoint: Path
    model: DeployModel


def small_variant() -> Variant:
    rows = tuple(Row(name, Conv(12, stride=2)) for name in ("stem1", "stem2", "lead3", "lead4", "lead5"))
    tiny = VARIANTS["tiny"]
    lead = ("lead3", "lead4", "lead5")
    return Variant("small", rows, lead, tiny.anchors, tiny.strides, 64, tiny.paper, activation=tiny.activation)


@pytest.fixture(scope="session")
def small() -> Iterator[str]:
    """Name of a variant that exists during these tests."""
    VARIANTS["small"] = small_variant()
    yield "small"
    del VARIANTS["small"]


@pytest.fixture(scope="session")
def checkpoint(small: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the small network whose answers differ from picture to picture."""
    path = tmp_path_factory.mktemp("run") / "best.pt"
    generator = torch.Generator().manual_seed(1)
    network = build_network(VARIANTS[small], num_classes=len(CLASS_NAMES), form="training")
    state = {
        key: torch.randn(value.shape, generator=generator) * value[0].numel() ** -0.5 * 2 if value.dim() == 4 else value
        for key, value in network.state_dict().items()
    }
    state |= {key: value for key, value in network.state_dict().items() if "implicit" in key or "anchors" in key}
    config = {"variant": small, "epochs": 12, "seed": 2}
    raw = network.state_dict()
    Checkpoint(small, "training", CLASS_NAMES, raw, ema=state, epoch=3, config=config).save(path)
    return path


@pytest.fixture(scope="session")
def published(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The small network, exported by the one function that users call."""
    repository = tmp_path_factory.mktemp("published") / "model_repository"
    facts = CardFacts(
        data="Some photos", average_precision={"AP": 0.5, "AP Ambulance": 0.25}, limits=("Daylight only.",)
    )
    report = export_checkpoint(
        checkpoint, name="small", repository=repository, shapes=SHAPES, max_candidates=CANDIDATES, facts=facts
    )
    model = DeployModel(load_network(checkpoint)[0], CANDIDATES).eval()
    return Published(report, repository, checkpoint, model)
