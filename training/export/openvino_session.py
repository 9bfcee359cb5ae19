"""OpenVINO as the embedded engine runs it, for checks and scores: each input shape compiled, precision by name.

The one place of the trainer that meets OpenVINO's untyped interface for running a model.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from training.export.session import INPUT, OUTPUTS, Answers, ExportError

Precision = Literal["f32", "bf16"]


class OpenvinoSession:
    """A model.onnx or a model.int8.xml, ready to run. ``precision``: of what is not quantised in it."""

    def __init__(self, path: Path, precision: Precision = "f32") -> None:
        self._core = ov.Core()
        self._precision = precision
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ExportError("this CPU does not compute in bf16")
        try:
            self._graph = self._core.read_model(path)
        except RuntimeError as exc:
            raise ExportError(f"OpenVINO does not load {path}: {openvino_line(exc)}") from exc
        self._requests: dict[tuple[int, int], ov.InferRequest] = {}

    @property
    def version(self) -> str:
        """Of OpenVINO."""
        return str(ov.get_version()).split("-")[0]

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Answer a batch, uint8 (B, H, W, 3), one image after the other as the engine does. Raises ExportError."""
        try:
            rows = [self._run(image[None]) for image in images]
        except RuntimeError as exc:
            raise ExportError(f"OpenVINO does not run {images.shape}: {openvino_line(exc)}") from exc
        return Answers(*(np.concatenate(column) for column in zip(*rows, strict=True)))

    def _run(self, image: NDArray[np.uint8]) -> list[NDArray[np.generic]]:
        shape_hw = image.shape[1], image.shape[2]
        if shape_hw not in self._requests:
            self._requests[shape_hw] = self._compile(shape_hw)
        request = self._requests[shape_hw]
        request.infer({INPUT: image})
        return [request.get_tensor(name).data.copy() for name in OUTPUTS]

    def _compile(self, shape_hw: tuple[int, int]) -> ov.InferRequest:
        graph = self._graph.clone()
        graph.reshape({INPUT: ov.PartialShape([1, *shape_hw, 3])})
        properties = {"INFERENCE_PRECISION_HINT": self._precision, "PERFORMANCE_HINT": "LATENCY"}
        return self._core.compile_model(graph, "CPU", properties).create_infer_request()


def openvino_line(exc: RuntimeError) -> str:
    """The line of OpenVINO's complaint that says something."""
    lines = [line for line in str(exc).splitlines() if line and not line.startswith("Exception from")]
    return lines[0] if lines else type(exc).__name__
