"""A network of bench/gpu.py as the ONNX file that TensorRT is given: as `export` writes it, or as `halve` does."""

import tempfile
from pathlib import Path

import onnx
from gpu_cases import Case
from gpu_network import candidates_of

from training.export.onnx import rounded, write_onnx
from training.export.precision.half import halve
from training.export.session import ExportError
from training.nets import DeployModel


def exported(case: Case, model: DeployModel) -> bytes:
    """The file of a case. Raises ExportError for a precision that no type in a graph stands for here."""
    if case.precision not in ("fp16", "fp32"):
        raise ExportError(f"no graph of {case.precision} is exported: types are written into it")
    plain = rounded(model).cpu()
    plain.max_candidates = candidates_of(model, case.shape_hw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(plain, path, {})
        proto = onnx.load(path)
    content: bytes = (halve(proto) if case.precision == "fp16" else proto).SerializeToString()
    return content
