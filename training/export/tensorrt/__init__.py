"""TensorRT plans from exported ONNX files, built on the GPU that serves them, and the repository that holds them."""

from training.export.tensorrt.compile import Compilation, compile_plan

__all__ = ["Compilation", "compile_plan"]
