"""What is asked of the gate, and whether it can be asked at all: found out before anything is measured for hours."""

from dataclasses import dataclass, field
from pathlib import Path

from training.config import ConfigError
from training.data import CocoDataset, DatasetError
from training.evaluate import Endpoint
from training.export.gate.staged import SERVED, Staged
from training.export.gate.verdict import Bounds


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be promoted, and how strictly.

    staged: a model's folder or a version's. data: what the set is called. engines: precisions to try; none: all that
    there are files for and this machine computes in. elsewhere: a running service that has the staged version loaded,
    whose engine is tried too. command: told in the card.
    """

    staged: Path
    repository: Path
    dataset: CocoDataset = field(repr=False)
    data: str
    name: str = ""
    checkpoint: Path | None = None
    engines: tuple[str, ...] = ()
    elsewhere: Endpoint | None = None
    bounds: Bounds = field(default_factory=Bounds)
    command: str = "yolov7-training promote"

    def check(self, staged: Staged) -> None:
        """Refuse what could not be told anything of, or not be published. Raises ConfigError, DatasetError."""
        if self.repository.exists() and not self.repository.is_dir():
            raise ConfigError(f"{self.repository} is no folder to publish into")
        _check_classes(staged.spec.class_names, self.dataset.class_names)
        if all(image.crowd.all() for image in self.dataset.images):
            raise DatasetError("the set has no object: nothing an engine loses would show")
        reads = {SERVED.get(engine) for engine in self.engines or staged.precisions()}
        # Without a checkpoint it is the parent itself, in ONNX Runtime.
        if self.checkpoint and not self.elsewhere and "model.onnx" not in reads:
            raise ConfigError("no version is without model.onnx: with a checkpoint, f32 or bf16 must be tried too")


def _check_classes(model: tuple[str, ...], data: tuple[str, ...]) -> None:
    if len(model) != len(data):
        raise DatasetError(f"the model has {len(model)} classes, the data {len(data)}")
    if model != data and set(model) == set(data):
        number = next(index for index, (one, other) in enumerate(zip(model, data, strict=True)) if one != other)
        raise DatasetError(
            f"the classes are in another order: class {number} is {model[number]!r} to the model and "
            f"{data[number]!r} to the data"
        )
