"""The engine inside this process: OpenVINO on the CPU, and the one place that knows OpenVINO's interface.

It compiles each input shape of a model once, with a fixed height and width, in throughput mode: on two cores two
streams of single images beat one batch of four. The precision is always set by name, because OpenVINO would pick
bf16 by itself on some CPUs. int8 is another file of the same version, `model.int8.xml`, which carries its quantization
with it; what is not quantized in it runs in f32. (OpenVINO 2026.4 misreads this graph with Q/DQ nodes in ONNX.)

Each batch runs in a thread of the engine's own, blocked in `infer()` with the GIL released. OpenVINO's own callbacks
are not used: they are never called when an inference fails, and its waiter would wait for ever.

The engine knows no queue, no deadline and no image size but the ones it compiled.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from service.engine.cores import core_quota, usable_cores
from service.engine.papers import admit
from service.engine.protocol import ModelVersion, Passport, Target
from service.engine.repository import StoredModel
from service.errors import EngineFailed, EngineNonsense, RepositoryError, StartError
from service.vision.detections import Candidates
from service.vision.spec import ModelSpec

logger = logging.getLogger(__name__)

Precision = Literal["f32", "bf16", "int8"]

DEVICE = "CPU"
INT8_FILE = "model.int8.xml"
# One batch more than there are streams lies ready, so that a stream never waits for the event loop.
PREFETCHED = 1


@dataclass(frozen=True, slots=True)
class EmbeddedOptions:
    """What an operator may choose.

    `precision` None: bf16 where the CPU computes in it, else f32; int8 only by name. `streams` 0: one per core.
    `cache_dir` None: compile anew at each start.
    """

    precision: Precision | None = None
    streams: int = 0
    max_batch_size: int = 1
    cache_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The inference requests of one model version, by input shape."""

    passport: Passport
    output_names: tuple[str, ...]
    score_floor: float
    requests: dict[tuple[int, int], deque[ov.InferRequest]]


class EmbeddedEngine:
    """An Engine. Raises StartError where the CPU lacks the precision."""

    def __init__(self, options: EmbeddedOptions) -> None:
        self._core = ov.Core()
        self._options = options
        streams = options.streams or usable_cores()
        self._parallelism = streams + PREFETCHED
        self._passport = Passport(
            engine=f"openvino {ov.get_version().split('-')[0]}",
            device=str(self._core.get_property(DEVICE, "FULL_DEVICE_NAME")).strip(),
            precision=self._choose_precision(),
            max_batch_size=options.max_batch_size,
        )
        self._properties = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_PRECISION_HINT": "bf16" if self._passport.precision == "bf16" else "f32",
        }
        if core_quota() is not None:
            # OpenVINO would start a thread for each core of the machine, which then wait for one another.
            self._properties["INFERENCE_NUM_THREADS"] = str(usable_cores())
        if options.cache_dir is not None:
            self._properties["CACHE_DIR"] = str(options.cache_dir)
        self._threads = ThreadPoolExecutor(self._parallelism, thread_name_prefix="engine")
        self._compiled: dict[ModelVersion, _Compiled] = {}

    @property
    def parallelism(self) -> int:
        """A batch for each stream, and one that lies ready."""
        return self._parallelism

    @property
    def shared(self) -> bool:
        """It is this process' own."""
        return False

    @property
    def wanted(self) -> Set[ModelVersion]:
        """It loses nothing."""
        return frozenset()

    async def start(self) -> None:
        """Nothing has to be connected."""

    async def load(self, stored: StoredModel) -> Passport:
        """See Engine.load. Compiles every input shape, in a thread, while the other models go on.

        Raises RepositoryError if the graph is not the served graph that its spec speaks of.
        """
        model = ModelVersion(stored.spec.name, stored.spec.version)
        if model not in self._compiled:
            self._compiled[model] = await asyncio.to_thread(self._compile_all, stored)
        return self._compiled[model].passport

    async def unload(self, model: ModelVersion) -> None:
        """See Engine.unload."""
        # Whatever is still in hand keeps its own requests; the memory goes when the last one ends.
        self._compiled.pop(model, None)

    async def loaded(self) -> Mapping[ModelVersion, Passport]:
        """See Engine.loaded."""
        return {model: compiled.passport for model, compiled in self._compiled.items()}

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        """See Engine.infer. The images are not copied unless they must be joined; a batch that began is not cut off."""
        compiled = self._compiled.get(target.model)
        if compiled is None or target.shape_hw not in compiled.requests:
            raise EngineFailed(f"model {target.model} is not loaded for {target.shape_hw}")
        return await asyncio.get_running_loop().run_in_executor(self._threads, _run, compiled, target, images)

    async def aclose(self) -> None:
        """Waits for the batches in hand."""
        await asyncio.to_thread(self._threads.shutdown)

    def _compile_all(self, stored: StoredModel) -> "_Compiled":
        spec = stored.spec
        started = time.monotonic()
        file = self._engine_file(stored)
        contents = _read(stored, file)
        papers = admit(stored, file, {"openvino": self._passport.engine.removeprefix("openvino ")}, contents)
        try:
            graph = self._core.read_model(*contents.values())
            contents.clear()  # the graph has a copy of its own
            _check_ports(graph, spec)
            requests: dict[tuple[int, int], deque[ov.InferRequest]] = {}
            for shape_hw in spec.input_shapes:
                compiled = self._compile(graph, spec, shape_hw)
                # As many requests as threads, so that a thread always finds one.
                requests[shape_hw] = deque(compiled.create_infer_request() for _ in range(self._parallelism))
        except RuntimeError as exc:
            raise RepositoryError(f"model {spec.name}/{spec.version} does not compile: {_first_line(exc)}") from exc
        took = time.monotonic() - started
        shapes = " ".join(f"{height}x{width}" for height, width in spec.input_shapes)
        logger.info("model %s/%s compiled for %s in %.1f s", spec.name, spec.version, shapes, took)
        return _Compiled(replace(self._passport, papers=papers), spec.output_names, spec.score_floor, requests)

    def _engine_file(self, stored: StoredModel) -> Path:
        if self._passport.precision != "int8":
            return stored.onnx
        file = stored.onnx.with_name(INT8_FILE)
        if not file.is_file():
            shown = f"{stored.spec.name}/{stored.spec.version}/{INT8_FILE}"
            raise RepositoryError(f"{shown} is missing, which precision int8 runs: yolov7-training quantise makes it")
        return file

    def _choose_precision(self) -> Precision:
        has_bf16 = "BF16" in self._core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        if self._options.precision == "bf16" and not has_bf16:
            raise StartError("precision bf16 was asked for, but this CPU does not compute in it; f32 works")
        return self._options.precision or ("bf16" if has_bf16 else "f32")

    def _compile(self, graph: ov.Model, spec: ModelSpec, shape_hw: tuple[int, int]) -> ov.CompiledModel:
        largest = self._options.max_batch_size
        # A fixed batch of one is compiled tighter than a range that holds only one.
        batch = ov.Dimension(1) if largest == 1 else ov.Dimension(1, largest)
        clone = graph.clone()
        clone.reshape({spec.input_name: ov.PartialShape([batch, *map(ov.Dimension, (*shape_hw, 3))])})
        return self._core.compile_model(clone, DEVICE, self._properties)


def _read(stored: StoredModel, file: Path) -> dict[str, bytes]:
    """The file and, of an .xml, the .bin with its weights, by name: what is looked at is what is compiled.

    Given their paths, OpenVINO would map the weights into memory: whoever writes over that file would change the
    running model, or end this process where the file becomes shorter.
    """
    try:
        return {part.name: part.read_bytes() for part in _parts(file)}
    except OSError as exc:
        shown = f"{stored.spec.name}/{stored.spec.version}/{Path(exc.filename).name}"
        raise RepositoryError(f"{shown} cannot be read: {exc.strerror}") from exc


def _parts(file: Path) -> tuple[Path, ...]:
    return (file, file.with_suffix(".bin")) if file.suffix == ".xml" else (file,)


def _run(compiled: _Compiled, target: Target, images: Sequence[NDArray[np.uint8]]) -> list[Candidates]:
    requests = compiled.requests[target.shape_hw]
    request = requests.pop()
    try:
        # A single image is passed on where it lies; only a real batch is copied together.
        batch = images[0][np.newaxis] if len(images) == 1 else np.stack(images)
        request.set_input_tensor(ov.Tensor(batch, shared_memory=True))
        request.infer()
        outputs = [request.get_tensor(name).data for name in compiled.output_names]
        _check_count(outputs, len(images))
        # Copied before the request goes back, because its next inference writes into the same memory.
        return [Candidates(*rows).above(compiled.score_floor) for rows in zip(*outputs, strict=True)]
    except RuntimeError as exc:
        # Said here, because those who wait are told nothing internal.
        logger.error("a batch of %d for %s failed: %s", len(images), target, _first_line(exc))
        raise EngineFailed(f"the engine could not run a batch of {len(images)}") from exc
    finally:
        requests.append(request)


def _check_count(outputs: Sequence[NDArray[Any]], images: int) -> None:
    # OpenVINO can leave the previous call's answer in place where another runtime would raise.
    wrong = [len(output) for output in outputs if len(output) != images]
    if wrong:
        raise EngineNonsense(f"the engine answered {wrong[0]} images when asked for {images}")


def _check_ports(graph: ov.Model, spec: ModelSpec) -> None:
    inputs = {name for port in graph.inputs for name in port.names}
    outputs = {name for port in graph.outputs for name in port.names}
    missing = ({spec.input_name} - inputs) | (set(spec.output_names) - outputs)
    if missing:
        raise RepositoryError(f"model {spec.name!r} has no tensor {', '.join(sorted(missing))}")
    if graph.input(spec.input_name).element_type != ov.Type.u8:
        raise RepositoryError(f"model {spec.name!r} takes {graph.input(spec.input_name).element_type}, not uint8")


def _first_line(exc: RuntimeError) -> str:
    lines = [line for line in str(exc).splitlines() if line and not line.startswith("Exception from")]
    return lines[0] if lines else type(exc).__name__
