"""ONNX Runtime, the engine that an export is checked with: float32 on the CPU, results as arrays.

The one place that meets ONNX Runtime's untyped interface. It knows the served graph's names, not how it was made.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from service.vision.detections import Candidates

INPUT = "images"
VERSIONS = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
OUTPUTS = ("boxes", "scores", "classes", "predictions")


class ExportError(Exception):
    """An export failed or its result is not what it must be; nothing was published. One line."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What the served graph says about B images, K candidates each, best first.

    boxes: float32 (B, K, 4) x1 y1 x2 y2 in pixels of the input. scores: float32 (B, K).
    classes, predictions: int32 (B, K).
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    predictions: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def image(self, index: int, count: int | None = None) -> Candidates:
        """The candidates of one image, the best ``count`` of them."""
        kept = np.s_[index, :count]
        return Candidates(self.boxes[kept], self.scores[kept], self.classes[kept], self.predictions[kept])


class OnnxSession:
    """A model.onnx, ready to run."""

    def __init__(self, path: Path) -> None:
        try:
            self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as exc:  # ONNX Runtime's own exceptions share no public base
            raise ExportError(f"ONNX Runtime does not load the model: {_first_line(exc)}") from exc

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Answer a batch, uint8 (B, H, W, 3). Raises ExportError."""
        try:
            outputs = self._session.run(list(OUTPUTS), {INPUT: images})
        except Exception as exc:
            raise ExportError(f"ONNX Runtime does not run {images.shape}: {_first_line(exc)}") from exc
        answers = Answers(*outputs)
        if len(answers) != len(images):
            raise ExportError(f"{len(images)} images went in, {len(answers)} answers came out")
        return answers


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]
