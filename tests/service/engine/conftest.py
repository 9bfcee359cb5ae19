"""A real tritonserver with the block finder, and with models that do as their image says."""

import asyncio
import importlib.util
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import text_format
from prometheus_client import CollectorRegistry
from tritonclient.grpc import model_config_pb2

from service.engine.triton import TritonEngine, TritonOptions
from service.metrics import Metrics
from service.vision.spec import ModelSpec

QUEUE_POLICY = "default_queue_policy { max_queue_size: 2 }"
DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "triton"


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
            shutil.copyfile(Path(__file__).with_name("odd_model.py"), target / model / "model.py")
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


@pytest.fixture(scope="session")
def repository(triton_repository: Callable[[], Path]) -> Path:
    return triton_repository()


@pytest.fixture(scope="session")
def server(triton_server: Callable[..., Any], repository: Path) -> Any:
    """Shared by the tests that leave it as it was."""
    return triton_server(repository)


@pytest.fixture
def until() -> Callable[..., Any]:
    """Waits for what another process does, which can only be asked again and again."""

    async def wait(holds: Callable[[], object], within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


async def grant(name: str, seconds: float) -> bool:
    return True


@pytest.fixture
async def make_engine(metrics: Metrics) -> AsyncIterator[Callable[..., Any]]:
    """Starts a TritonEngine for these servers' URLs; closed at the end of the test."""
    engines = []

    async def make(*urls: str, lease: Any = grant, metrics: Metrics = metrics, **options: Any) -> TritonEngine:
        chosen = {"parallelism": 4, "shared_memory": "off", "default_precision": "fp16"} | options
        engines.append(TritonEngine(TritonOptions(urls, **chosen), metrics=metrics, lease=lease))
        await engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        await engine.aclose()
