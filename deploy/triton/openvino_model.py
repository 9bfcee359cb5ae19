"""model.py of Triton's python backend: runs the `model.onnx`, or a narrower file, beside it with OpenVINO on the CPU.

For machines without a GPU, where NVIDIA's own backends have nothing to run on. The tensors are those of the served
graph: `images` UINT8 [B, H, W, 3] in, and every output under its own name.

Each image of each request is inferred by itself, side by side on the streams: on a CPU that beats joining them, and a
request that fails fails alone. Each input shape is compiled at its first image, which model_warmup sends at load.

config.pbtxt says in `parameters` what is chosen: `file`, `precision` (bf16, or another, of which what is not quantised
is computed in f32; never left to OpenVINO, which picks bf16 by itself on some CPUs), `streams` and `threads` of one
instance.
"""

import json
import queue
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import triton_python_backend_utils as triton
from numpy.typing import NDArray

DEVICE = "CPU"


class TritonPythonModel:
    """One instance of one version, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """`args` is Triton's; an exception makes the load fail with its text."""
        config = json.loads(args["model_config"])
        chosen = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._input = config["input"][0]["name"]
        self._outputs = [output["name"] for output in config["output"]]
        self._core = ov.Core()
        self._graph = self._core.read_model(Path(args["model_repository"], args["model_version"], chosen["file"]))
        self._streams = int(chosen["streams"])
        self._properties = {
            "INFERENCE_PRECISION_HINT": "bf16" if chosen["precision"] == "bf16" else "f32",
            "NUM_STREAMS": chosen["streams"],
            "INFERENCE_NUM_THREADS": chosen["threads"],
            # Every instance would pin its threads to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._idle: dict[tuple[int, ...], queue.SimpleQueue[ov.InferRequest]] = {}
        self._threads = ThreadPoolExecutor(self._streams)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        started = [self._start(request) for request in requests]
        return [self._finish(images) for images in started]

    def finalize(self) -> None:
        """Frees the threads; Triton ends the process afterwards."""
        self._threads.shutdown()

    def _start(self, request: Any) -> list[Future[list[NDArray[Any]]]]:
        images = triton.get_input_tensor_by_name(request, self._input).as_numpy()  # (B, H, W, 3)
        return [self._threads.submit(self._infer, images[place : place + 1]) for place in range(len(images))]

    def _finish(self, images: list[Future[list[NDArray[Any]]]]) -> Any:
        try:
            rows = [image.result() for image in images]
        except RuntimeError as error:
            return triton.InferenceResponse(error=triton.TritonError(f"OpenVINO: {error}"))
        joined = (np.concatenate(column) for column in zip(*rows, strict=True))
        return triton.InferenceResponse(
            [triton.Tensor(name, output) for name, output in zip(self._outputs, joined, strict=True)]
        )

    def _infer(self, image: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """Every output for one image (1, H, W, 3), copied: the request's next inference writes into the same memory."""
        idle = self._idle.get(image.shape) or self._compile(image.shape)
        request = idle.get()
        try:
            request.set_input_tensor(ov.Tensor(image, shared_memory=True))
            request.infer()
            return [request.get_tensor(name).data.copy() for name in self._outputs]
        finally:
            idle.put(request)

    def _compile(self, shape: tuple[int, ...]) -> "queue.SimpleQueue[ov.InferRequest]":
        graph = self._graph.clone()
        graph.reshape({self._input: list(shape)})
        compiled = self._core.compile_model(graph, DEVICE, self._properties)
        idle: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()
        for _ in range(self._streams):
            idle.put(compiled.create_infer_request())
        # Two threads may compile the same shape once each; the first one to get here is kept.
        return self._idle.setdefault(shape, idle)
