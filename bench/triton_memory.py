"""What the way of the images to Triton costs: gRPC bytes against shared memory, at 640x640.

    make triton && .venv/bin/python bench/triton_memory.py

The model does nothing but read its images and answer K rows, so that what is measured is the transport, in a real
tritonserver on this host and through the gateway's own engine. Milliseconds per batch, one batch at a time or four.
"""

import asyncio
import importlib.util
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from google.protobuf import text_format
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from rounds import interleave, report
from tritonclient.grpc import model_config_pb2

from service.engine.protocol import ModelVersion, Target
from service.engine.triton import TritonEngine, TritonOptions
from service.metrics import Metrics

DEPLOY = Path(__file__).resolve().parent.parent / "deploy" / "triton"
SHAPE, K = (640, 640), 1000
MODEL = """
import numpy as np
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(triton.get_input_tensor_by_name(request, "images").as_numpy()) for request in requests]

    def answer(self, images):
        n = len(images)
        boxes, scores = np.zeros((n, 1000, 4), np.float32), np.zeros((n, 1000), np.float32)
        scores[:, 0] = images[:, 0, 0, 0]
        rows = np.zeros((n, 1000), np.int32)
        outputs = {"boxes": boxes, "scores": scores, "classes": rows, "predictions": rows}
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in outputs.items()])
"""


def write_repository(root: Path) -> None:
    """One model, `nothing`."""
    config = model_config_pb2.ModelConfig(name="nothing", backend="python", max_batch_size=8)
    config.input.add(name="images", data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    floats, whole = model_config_pb2.TYPE_FP32, model_config_pb2.TYPE_INT32
    outputs = {"boxes": (floats, [K, 4]), "scores": (floats, [K]), "classes": (whole, [K]), "predictions": (whole, [K])}
    for name, (kind, dims) in outputs.items():
        config.output.add(name=name, data_type=kind, dims=dims)
    config.dynamic_batching.SetInParent()
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=1)
    (root / "nothing" / "1").mkdir(parents=True)
    (root / "nothing" / "config.pbtxt").write_text(text_format.MessageToString(config))
    (root / "nothing" / "1" / "model.py").write_text(MODEL)


async def grant(name: str, seconds: float) -> bool:
    """There is only this gateway."""
    return True


@dataclass(frozen=True, slots=True)
class Load:
    """`batches` times the same batch of images, so many at a time."""

    images: list[NDArray[np.uint8]]
    in_flight: int
    batches: int


def measure(runner: asyncio.Runner, engine: TritonEngine, load: Load) -> float:
    """Return mean milliseconds per batch."""
    target = Target(ModelVersion("nothing", "1"), SHAPE)

    async def call() -> None:
        for _ in range(load.batches // load.in_flight):
            await engine.infer(target, load.images, deadline=time.monotonic() + 30)

    async def all_calls() -> None:
        await asyncio.gather(*(call() for _ in range(load.in_flight)))

    started = time.perf_counter()
    runner.run(all_calls())
    return (time.perf_counter() - started) / load.batches * 1000


def compare(url: str) -> None:
    """Print a table for each batch size and load."""
    with asyncio.Runner() as runner:
        engines: dict[str, TritonEngine] = {}
        for name, choice in (("gRPC bytes", "off"), ("shared memory", "on")):
            options = TritonOptions((url,), parallelism=4, shared_memory=choice)
            engines[name] = TritonEngine(options, metrics=Metrics(CollectorRegistry()), lease=grant)
            runner.run(engines[name].start())
            runner.run(engines[name].loaded())
        rng = np.random.default_rng(0)
        for size, batches in ((1, 80), (8, 16)):
            images = [rng.integers(0, 256, (*SHAPE, 3), np.uint8) for _ in range(size)]
            for in_flight in (1, 4):
                load = Load(images, in_flight, batches)
                contenders = {name: partial(measure, runner, engine, load) for name, engine in engines.items()}
                figures = interleave(contenders)
                report(f"batch {size}, {in_flight} in flight", "ms", figures, reference="gRPC bytes")
        for engine in engines.values():
            runner.run(engine.aclose())


def load_launcher() -> ModuleType:
    """deploy/triton/tritonserver.py."""
    spec = importlib.util.spec_from_file_location("tritonserver", DEPLOY / "tritonserver.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["tritonserver"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["tritonserver"])
    return sys.modules["tritonserver"]


def main() -> None:
    """Start a server, measure, end it."""
    with tempfile.TemporaryDirectory() as folder:
        write_repository(Path(folder))
        server = load_launcher().TritonServer(Path(folder), load=["nothing"])
        try:
            server.start()
            server.wait_ready()
            compare(server.url)
        finally:
            server.kill()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
