"""The two engines that a framework may serve here: OpenVINO with a published model, or one that sleeps.

Both are given letterboxed pictures and answer candidates. They know no framework.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates
from service.vision.spec import ModelSpec

CANDIDATES = 1000
_VISIBLE = 20  # candidates above the usual confidence
_OUTPUTS = ("boxes", "scores", "classes", "predictions")


class Engine(Protocol):
    """``shapes_hw`` are the input shapes that it takes."""

    shapes_hw: Sequence[tuple[int, int]]

    def infer(self, batch: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
        """Candidates of each picture; blocks. All pictures have one shape. Any number of threads may call it."""
        ...

    async def infer_async(self, batch: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
        """The same without blocking the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class SleepingEngine:
    """Takes ``seconds`` for a batch and answers the same candidates always."""

    seconds: float
    shapes_hw: Sequence[tuple[int, int]]

    def infer(self, batch: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
        """See Engine."""
        time.sleep(self.seconds)
        return [FIXED] * len(batch)

    async def infer_async(self, batch: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
        """See Engine."""
        await asyncio.sleep(self.seconds)
        return [FIXED] * len(batch)


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """``streams`` inferences side by side on ``threads`` cores in all; batches of 1 to ``max_batch_size``.

    ``shapes_hw``: those of the model that are compiled; none means all.
    """

    precision: str
    streams: int
    threads: int
    max_batch_size: int = 1
    shapes_hw: Sequence[tuple[int, int]] = ()


class OpenVinoEngine:
    """One compiled model per input shape, each with as many inference requests as may run side by side.

    Cores are not pinned: two processes that each pin their only thread would both take the first core.
    """

    def __init__(self, model: Path, options: OpenVinoOptions) -> None:
        import openvino  # noqa: PLC0415 - a second that a sleeping engine need not wait

        spec = ModelSpec.from_json((model / "spec.json").read_text())
        self.shapes_hw = options.shapes_hw or spec.input_shapes
        core = openvino.Core()
        properties = {
            "PERFORMANCE_HINT": "THROUGHPUT" if options.streams > 1 else "LATENCY",
            "NUM_STREAMS": str(options.streams),
            "INFERENCE_NUM_THREADS": options.threads,
            "INFERENCE_PRECISION_HINT": options.precision,
            "ENABLE_CPU_PINNING": False,
        }
        self._requests: dict[tuple[int, int], deque[Any]] = {}
        for height, width in self.shapes_hw:
            graph = core.read_model(model / spec.version / "model.onnx")
            largest = options.max_batch_size
            batch = openvino.Dimension(1) if largest == 1 else openvino.Dimension(1, largest)
            graph.reshape(openvino.PartialShape([batch, *map(openvino.Dimension, (height, width, 3))]))
            compiled = core.compile_model(graph, "CPU", properties)
            self._requests[height, width] = deque(compiled.create_infer_request() for _ in range(options.streams + 1))

    def infer(self, batch: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
        """See Engine."""
        requests = self._requests[batch[0].shape[0], batch[0].shape[1]]
        request = requests.pop()
        try:
            images = batch[0][np.newaxis] if len(batch) == 1 else np.stack(batch)
            request.infer({"images": images}, share_inputs=True)
            outputs = [request.get_tensor(name).data.copy() for name in _OUTPUTS]
        finally:
            requests.append(request)
        return [Candidates(*rows) for rows in zip(*outputs, strict=True)]

    async def infer_async(self, batch: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
        """See Engine."""
        return await asyncio.to_thread(self.infer, batch)


def fixed_candidates(*, count: int = CANDIDATES, visible: int = _VISIBLE, seed: int = 0) -> Candidates:
    """Best first: ``visible`` with scores from 0.9 down to 0.3, the rest below 0.2; boxes within 384×384 pixels."""
    draw = np.random.default_rng(seed)
    corner = draw.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corner, corner + draw.uniform(20, 84, (count, 2))], 1).astype(np.float32)
    scores = np.concatenate([np.linspace(0.9, 0.3, visible), np.linspace(0.2, 0.001, count - visible)])
    classes = draw.integers(0, 80, count).astype(np.int32)
    return Candidates(boxes, scores.astype(np.float32), classes, np.arange(count, dtype=np.int32))


FIXED = fixed_candidates()
