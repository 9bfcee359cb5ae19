"""TensorRT as an engine of bench/gpu.py: built as `yolov7-training compile` builds, run on torch's buffers.

Imported only where the module tensorrt can be. Not run yet: written from NVIDIA's documentation of versions 10 and 11.
"""

from typing import Any

import tensorrt
import torch
from gpu_cases import Case
from gpu_network import pictures
from gpu_onnx import exported
from torch import Tensor

from training.export.session import INPUT, OUTPUTS, ExportError
from training.export.tensorrt.builder import Order, TensorrtBuilder
from training.export.tensorrt.compile import Options
from training.export.tensorrt.profiles import Profile
from training.export.tensorrt.progress import BuildProgress
from training.nets import DeployModel

_WARM_UP = 3
_TYPES = {tensorrt.float32: torch.float32, tensorrt.int32: torch.int32}


class TensorrtEngine:
    """A plan for exactly one batch size and shape; see Engine. Raises ExportError where TensorRT refuses something."""

    def __init__(self, plan: bytes, images: Tensor) -> None:
        self.images = images
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.WARNING))
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ExportError("TensorRT does not read the plan that it built")
        self._context: Any = engine.create_execution_context()
        self._owners = (runtime, engine)  # which must outlive the context
        if not self._context.set_input_shape(INPUT, tuple(images.shape)):
            raise ExportError(f"the plan does not take {tuple(images.shape)}")
        self._context.set_tensor_address(INPUT, images.data_ptr())
        self.outputs: tuple[Tensor, ...] = tuple(self._buffer(engine, name) for name in OUTPUTS)
        # A stream of its own: on the default one TensorRT waits for the whole device after each batch.
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        for _ in range(_WARM_UP):
            self.run()
        torch.cuda.synchronize()

    def run(self) -> None:
        """See Engine."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise ExportError("TensorRT does not run the plan")
        current.wait_stream(self._stream)  # so that events and copies on torch's stream come after it

    def _buffer(self, engine: Any, name: str) -> Tensor:
        shape = tuple(self._context.get_tensor_shape(name))
        buffer = torch.empty(shape, dtype=_TYPES[engine.get_tensor_dtype(name)], device=self.images.device)
        self._context.set_tensor_address(name, buffer.data_ptr())
        return buffer


def build_tensorrt(case: Case, model: DeployModel, device: torch.device) -> TensorrtEngine:
    """Export and build, which takes a minute or more. Raises ExportError."""
    options = Options()
    order = Order(
        onnx=exported(case, model),
        profiles=[Profile(case.shape_hw, case.batch, case.batch)],
        timings=b"",
        workspace_bytes=options.workspace_bytes,
        optimisation_level=options.level,
    )
    with BuildProgress() as progress:
        built = TensorrtBuilder().build(order, progress)
    return TensorrtEngine(built.plan, pictures(case.batch, case.shape_hw, device))
