"""A second version of the block finder, whose answers tell it from the first, and an engine that gateways share."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from service.app import Service
from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import ModelVersion, Passport, Target
from service.engine.repository import StoredModel
from service.errors import EngineFailed
from service.models import Models
from service.settings import Settings
from service.vision.detections import Candidates
from service.vision.spec import ModelSpec


@pytest.fixture(scope="session")
def write_dimmed(write_blocks: Callable[..., ModelSpec]) -> Callable[..., ModelSpec]:
    """Writes a version that gives half the score to everything: (root, name, version) -> its spec."""

    def write(root: Path, name: str = "blocks", version: str = "2") -> ModelSpec:
        spec = write_blocks(root, name, version)
        path = root / name / version / "model.onnx"
        model = onnx.load(str(path))
        (divisor,) = (constant for constant in model.graph.initializer if constant.name == "c255")
        divisor.CopyFrom(onnx.numpy_helper.from_array(np.array(510, np.float32), "c255"))
        onnx.save(model, str(path))
        known = tuple(
            replace(known, candidates=replace(known.candidates, scores=known.candidates.scores / 2))
            for known in spec.known_images
        )
        spec = replace(spec, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), known_images=known)
        for folder in (path.parent, root / name):
            (folder / "spec.json").write_text(spec.to_json())
        return spec

    return write


@pytest.fixture
def two_versions(
    tmp_path: Path, write_blocks: Callable[..., ModelSpec], write_dimmed: Callable[..., ModelSpec]
) -> Path:
    """A repository with blocks 1, which is current, and blocks 2, which is not."""
    write_dimmed(tmp_path)
    write_blocks(tmp_path)
    return tmp_path


class SharedEngine(EmbeddedEngine):
    """The real engine as several gateways share it, with its troubles.

    `hanging` versions answer nothing until their event; `wanted` is what it says it brings back; `refused` is how often
    it still refuses a load; `loads` waits before each load.
    """

    shared = True

    def __init__(self, cache_dir: Path) -> None:
        super().__init__(EmbeddedOptions(precision="f32", streams=4, cache_dir=cache_dir))
        self.hanging: dict[ModelVersion, asyncio.Event] = {}
        self.loads = asyncio.Event()
        self.loads.set()
        self.refused = 0
        self.bringing_back: set[ModelVersion] = set()
        self.changed: dict[str, object] = {}

    @property
    def wanted(self) -> set[ModelVersion]:
        return self.bringing_back

    async def load(self, stored: StoredModel) -> Passport:
        await self.loads.wait()
        if self.refused:
            self.refused -= 1
            raise EngineFailed("the engine cannot load it")
        return replace(await super().load(stored), **self.changed)

    async def loaded(self) -> Mapping[ModelVersion, Passport]:
        return {model: replace(said, **self.changed) for model, said in (await super().loaded()).items()}

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        if target.model in self.hanging:
            await self.hanging[target.model].wait()
        return await super().infer(target, images, deadline=deadline)


@pytest.fixture
def shared_engine(make_settings: Callable[..., Settings]) -> SharedEngine:
    return SharedEngine(make_settings().openvino_cache_dir)


@pytest.fixture
async def make_gateway(
    shared_engine: SharedEngine, make_settings: Callable[..., Settings]
) -> AsyncIterator[Callable[..., Awaitable[Service]]]:
    """Starts a service on the shared engine: (root, names=, reconcile_s=); it is closed at the end of the test."""
    services: list[Service] = []

    async def make(root: Path, names: Sequence[str] = (), reconcile_s: float = 0.3) -> Service:
        service = Service(make_settings(model_repository=root), names, engine=shared_engine)
        service.models = Models(
            root, shared_engine, service.detector, interval_s=60, metrics=service.metrics, reconcile_s=reconcile_s
        )
        services.append(service)
        await service.start()
        return service

    yield make
    for service in services:
        await service.models.aclose()
    shared_engine.loads.set()
    for event in shared_engine.hanging.values():
        event.set()
    for service in services:
        await service.aclose()


@pytest.fixture
def asked(detect, png: bytes) -> Callable[..., contextlib.AbstractAsyncContextManager[set[tuple[str, float]]]]:
    """Requests run all the while; gives the versions that answered, each with its best score. None may fail."""

    @contextlib.asynccontextmanager
    async def asked(service: Service, name: str = "blocks") -> AsyncIterator[set[tuple[str, float]]]:
        answers, over = set[tuple[str, float]](), asyncio.Event()

        async def ask(caching: str) -> None:
            while not over.is_set():
                served = service.models.resolve(name)
                scores = (await detect(service, png, served=served, caching=caching)).detections.scores
                answers.add((served.spec.version, round(float(scores[0]), 3)))
                await asyncio.sleep(0)  # as a hit in memory waits for nothing

        asking = [asyncio.ensure_future(ask(caching)) for caching in ("off", "use", "refresh")]
        yield answers
        over.set()
        await asyncio.gather(*asking)

    return asked


@pytest.fixture(scope="session")
def blind() -> Callable[..., None]:
    """From now on a model's known answers are those to other pictures: (root, name, version)."""

    def blind(root: Path, name: str, version: str = "1") -> None:
        for spec in (root / name / version / "spec.json", root / name / "spec.json"):
            seen = ModelSpec.from_json(spec.read_text())
            known = tuple(replace(known, seed=8) for known in seen.known_images)
            spec.write_text(replace(seen, known_images=known).to_json())

    return blind
