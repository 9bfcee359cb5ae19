"""PyTorch as an engine: op by op, compiled, and recorded as a CUDA graph. TensorRT is in gpu_tensorrt.py.

An engine has one batch of bytes on its device, ``images``, which may be overwritten, and ``outputs`` on the device
once ``run`` was called: the four of DeployModel. ``run`` only queues the work where the device is a GPU.
"""

from typing import Protocol

import torch
from gpu_cases import Case, Precision
from gpu_network import narrowed, pictures, without_search
from torch import Tensor, nn

from training.nets import DeployModel

_WARM_UP = 3  # runs before a recording: the first choose kernels and take memory


class Engine(Protocol):
    """What is measured."""

    images: Tensor
    outputs: tuple[Tensor, ...]

    def run(self) -> None:
        """Queue one batch."""
        ...


class EagerEngine:
    """PyTorch, called each time: ``model`` may be compiled."""

    def __init__(self, model: nn.Module, images: Tensor, precision: Precision) -> None:
        self._model, self._precision = model, precision
        self.images = images
        self.outputs: tuple[Tensor, ...] = ()

    def run(self) -> None:
        """See Engine."""
        if self.images.is_cuda and self._precision in ("fp32", "tf32"):
            torch.backends.cudnn.allow_tf32 = self._precision == "tf32"  # engines of both kinds take turns
        with torch.no_grad():
            self.outputs = self._model(self.images)


class GraphEngine:
    """What another engine queues, recorded once and replayed: no Python and one launch for each batch.

    The recording keeps the addresses that it saw. So ``images`` is overwritten, never replaced, and ``outputs`` are the
    same tensors after each run; what lies between them is a pool of memory of its own.
    """

    def __init__(self, engine: EagerEngine) -> None:
        self.images = engine.images
        stream = torch.cuda.Stream()
        # Libraries set themselves up at first use, once for each stream, which a recording does not allow: so warm up
        # on the stream that records.
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                engine.run()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            engine.run()
        self.outputs = engine.outputs
        self._engine = engine  # owns the weights that the recording reads

    def run(self) -> None:
        """See Engine."""
        self._graph.replay()


class References:
    """What PyTorch in float32, op by op, scores on the first picture, (K,): each engine is compared with it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._scores: dict[tuple[str, tuple[int, int]], Tensor] = {}

    def learn(self, case: Case, model: DeployModel) -> None:
        """Compute it for the variant and shape of a case, unless it is known."""
        key = case.variant, case.shape_hw
        if key not in self._scores:
            narrow = narrowed(model, "fp32", case.shape_hw)
            engine = EagerEngine(narrow, pictures(1, case.shape_hw, self._device), "fp32")
            with without_search():
                engine.run()
            self._scores[key] = engine.outputs[1][0].cpu()

    def score_error(self, case: Case, engine: Engine) -> float:
        """The largest difference of a score on the first picture, rank by rank."""
        engine.images.copy_(pictures(case.batch, case.shape_hw, self._device))
        engine.run()
        return float((engine.outputs[1][0].cpu() - self._scores[case.variant, case.shape_hw]).abs().max())


def build_engine(case: Case, model: DeployModel, device: torch.device) -> Engine:
    """The engine of a case that PyTorch runs; ``model`` is the variant's, in float32 on ``device``, and is copied.

    "compiled" fuses what is between convolutions and, on a GPU, is recorded as well.
    """
    narrow: nn.Module = narrowed(model, case.precision, case.shape_hw)
    if case.runner == "compiled":
        torch.compiler.reset()  # or the shapes of earlier cases would make it compile for any shape
        narrow = torch.compile(narrow, dynamic=False)
    images = pictures(case.batch, case.shape_hw, device)
    engine = EagerEngine(narrow, images, case.precision)
    if case.runner != "eager" and device.type == "cuda":
        return GraphEngine(engine)
    for _ in range(_WARM_UP):
        engine.run()
    return engine
