"""What engines are held to: the checkpoint in torch, or without one the model.onnx in ONNX Runtime, in float32."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.vision.detections import Detections
from training.checkpoint import load_network
from training.evaluate import Evaluation, score
from training.evaluate.model import Way, open_model
from training.evaluate.progress import shown
from training.export.exported import open_exported
from training.export.gate.probe import Look, OnnxProbe, torch_look
from training.export.gate.request import Request
from training.export.gate.staged import Staged

_LITTLE = 0.01


@dataclass(frozen=True, slots=True)
class Parent:
    """detections: by image id."""

    name: str
    evaluation: Evaluation
    detections: Mapping[int, Detections] = field(repr=False)

    def doubts(self) -> tuple[str, ...]:
        """What makes a comparison with it say little, a sentence each."""
        if self.evaluation.ap < _LITTLE:
            points = 100 * self.evaluation.ap
            return (f"the parent itself finds next to nothing (AP {points:.2f}): are these its data?",)
        return ()


def score_parent(staged: Staged, request: Request) -> Parent:
    """Let it look at the whole set. Raises CheckpointError, DatasetError, ExportError."""
    dataset = request.dataset
    if request.checkpoint is None:
        model, name = open_exported(staged.onnx), "parent: model.onnx, ONNX Runtime, f32"
    else:
        model, name = open_model(request.checkpoint, Way(staged.spec.input_shapes)), "parent: checkpoint, torch, f32"
    found = dict(shown(model.detect(dataset), len(dataset), name))
    return Parent(name, score(dataset, found.items()), found)


def look_into_parent(staged: Staged, request: Request, names: Mapping[str, str]) -> Look:
    """Return what its convolutions answer; ``names`` are those of ``probe.names_of``."""
    if request.checkpoint is None:
        return OnnxProbe(staged.onnx, names).whole
    return torch_look(load_network(request.checkpoint)[0])
