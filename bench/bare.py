"""The ceiling: decode, letterbox, infer and suppress in a plain loop over both cores, without queue, HTTP or JSON."""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from service.vision.detections import Candidates
from service.vision.image import decode
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import PostprocessOptions, postprocess
from service.vision.spec import ModelSpec

_OUTPUTS = ("boxes", "scores", "classes", "predictions")


class BareLoop:
    """One compiled model per input shape and a thread per image in flight, each with inference requests of its own."""

    def __init__(self, model: Path, *, precision: str, threads: int) -> None:
        """``model`` is a folder of the model repository; ``precision`` is f32, bf16, or int8 with its file."""
        self.spec = ModelSpec.from_json((model / "spec.json").read_text())
        core = openvino.Core()
        file, hint = ("model.int8.xml", "f32") if precision == "int8" else ("model.onnx", precision)
        self._compiled: dict[tuple[int, int], Any] = {}
        for height, width in self.spec.input_shapes:
            graph = core.read_model(model / self.spec.version / file)
            graph.reshape([1, height, width, 3])
            options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint}
            self._compiled[height, width] = core.compile_model(graph, "CPU", options)
        self._threads = threads

    def per_second(self, images: list[bytes], *, seconds: float) -> float:
        """Images finished per second, all threads together."""
        turn = itertools.cycle(images)
        with ThreadPoolExecutor(self._threads) as pool:
            started = time.perf_counter()
            done = sum(pool.map(lambda _: self._work(turn, started + seconds), range(self._threads)))
            return done / (time.perf_counter() - started)

    def _work(self, turn: Iterator[bytes], until: float) -> int:
        requests = {shape: compiled.create_infer_request() for shape, compiled in self._compiled.items()}
        done = 0
        while time.perf_counter() < until:
            image = decode(next(turn))
            image_hw = (image.shape[0], image.shape[1])
            letterbox = Letterbox.fit(image_hw, choose_shape(image_hw, self.spec.input_shapes))
            batch = np.empty((1, *letterbox.shape_hw, 3), np.uint8)
            letterbox.apply(image, out=batch[0])
            request = requests[letterbox.shape_hw]
            request.infer({"images": batch}, share_inputs=True)
            outputs = [request.get_tensor(name).data[0] for name in _OUTPUTS]
            postprocess(Candidates(*outputs), letterbox, PostprocessOptions())
            done += 1
        return done
