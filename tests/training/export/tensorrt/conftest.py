"""A builder that notes what it was asked for: what TensorRT itself would do needs its GPU."""

import shutil
from pathlib import Path

import pytest

from training.export.session import ExportError
from training.export.tensorrt.builder import Built, Order
from training.export.tensorrt.progress import BuildProgress


class NotingBuilder:
    """Its plan says which build it was."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.complaint = ""

    @property
    def versions(self) -> dict[str, str]:
        return {"tensorrt": "10.7.0", "gpu": "NVIDIA L4", "driver": "560.35.03", "architecture": "8.9"}

    def build(self, order: Order, progress: BuildProgress) -> Built:
        self.orders.append(order)
        progress.phase_start("Building Engine", None, 1)
        if self.complaint:
            raise ExportError(self.complaint)
        progress.phase_finish("Building Engine")
        return Built(b"plan %d" % len(self.orders), b"timings %d" % len(self.orders))


@pytest.fixture
def builder() -> NotingBuilder:
    return NotingBuilder()


@pytest.fixture
def model(published, tmp_path: Path) -> Path:
    """The model.onnx of the small network's version, in a repository that a test may write to."""
    shutil.copytree(published.repository, tmp_path / "repository")
    return tmp_path / "repository" / "small" / "1" / "model.onnx"
