"""One Triton server, spoken to by tritonclient's asyncio client.

It knows whether the server answers and which model versions it has ready, as of the last look; watching over it and
bringing back what it has lost is Watch's business.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult, model_config_pb2
from tritonclient.utils import InferenceServerException

from service.engine.contract import Contract, override
from service.engine.line import ASK_S, Line
from service.engine.protocol import ModelVersion
from service.engine.shared_memory import Slot
from service.engine.triton_errors import EngineSilent, LoadRefused, ModelAbsent, ModelDead, RegionUnknown
from service.errors import DeadlineExceeded, EngineDown, EngineFailed
from service.metrics import Metrics
from service.tracing import current_traceparent

logger = logging.getLogger(__name__)

# TensorRT engines are read and warmed up, OpenVINO compiles every shape.
LOAD_S = 120.0
# How long a version whose process died is not asked, unless it was reloaded: every call would hang for a second.
DEAD_S = 2.0
LOCAL = ("localhost", "127.", "[::1]", "unix:")


@dataclass(frozen=True, slots=True)
class Batch:
    """One request for one model version. `deadline` is a reading of time.monotonic()."""

    model: ModelVersion
    contract: Contract
    images: InferInput
    deadline: float


class Endpoint:
    """`connect` comes first, in the running loop; `aclose` last."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        self.url = url
        self.local = url.startswith(LOCAL)
        self.in_flight = 0
        self.asked_at = 0.0
        self.engine = "triton"
        self.wanted: dict[ModelVersion, model_config_pb2.ModelConfig] = {}
        self._ready: dict[ModelVersion, model_config_pb2.ModelConfig] = {}
        self._seen: set[ModelVersion] = set()
        self._loading: set[ModelVersion] = set()
        self._dead: dict[ModelVersion, float] = {}
        self._loaded_at: dict[ModelVersion, float] = {}
        self._regions: set[str] = set()
        self._changing = asyncio.Lock()
        self._line = Line(url, metrics)

    @property
    def up(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._line.up

    @property
    def suspicion(self) -> asyncio.Event:
        """Set when something looked wrong."""
        return self._line.suspicion

    @property
    def ready(self) -> Mapping[ModelVersion, model_config_pb2.ModelConfig]:
        """What it had ready at the last look, and how each is configured."""
        return MappingProxyType(self._ready)

    @property
    def loading(self) -> Set[ModelVersion]:
        """What it was loading at the last look, for whomever."""
        return self._loading

    @property
    def lost(self) -> set[ModelVersion]:
        """What it should have and has not: `wanted` holds all that was seen ready and not unloaded on purpose."""
        return self.wanted.keys() - self._ready.keys() - self._loading

    @property
    def dead(self) -> set[ModelVersion]:
        """What it calls ready, although a request saw of late that the process behind it has died."""
        now = time.monotonic()
        return {model for model, until in self._dead.items() if until > now}

    def connect(self) -> None:
        """Opens the channel, which connects and reconnects by itself."""
        self._line.open()

    async def aclose(self) -> None:
        """Breaks off what is still under way."""
        await self._line.aclose()

    def may_serve(self, model: ModelVersion) -> bool:
        """Whether asking it makes sense now."""
        return self._line.up and model in self._ready and model not in self.dead

    async def infer(self, batch: Batch) -> InferResult:
        """Cancelling it cancels the call.

        Raises DeadlineExceeded, Overloaded, EngineDown, ModelAbsent, ModelDead, RegionUnknown, or EngineFailed.
        """
        started = time.monotonic()
        left = batch.deadline - started
        if left <= 0:
            raise DeadlineExceeded("the deadline passed before the engine was asked")
        self.in_flight += 1
        self.asked_at = started
        try:
            async with self._line.cut_off():
                with self._line.translated(f"a batch for {batch.model}"):
                    return await self._line.client.infer(
                        batch.model.name,
                        [batch.images],
                        model_version=batch.model.version,
                        outputs=[InferRequestedOutput(name) for name in batch.contract.output_names],
                        headers={"traceparent": parent} if (parent := current_traceparent()) else None,
                        timeout=int(left * 1e6),
                        client_timeout=left,
                    )
        except (EngineFailed, DeadlineExceeded) as exc:
            self._note(exc, batch.model, started)
            raise
        finally:
            self.in_flight -= 1

    async def look(self) -> None:
        """Asks what is ready, and keeps it. Raises EngineFailed."""
        with self._line.asking("the repository index"):
            index = await self._line.client.get_model_repository_index(client_timeout=ASK_S)
        states = {ModelVersion(entry.name, entry.version): entry for entry in index.models}
        ready = {model for model, entry in states.items() if entry.state == "READY"}
        self._loading = {model for model, entry in states.items() if entry.state == "LOADING"}
        for model, entry in states.items():
            # A server that was started anew knows nothing of what it had, and so gives no reason.
            if entry.state == "UNLOADING" or entry.reason == "unloaded":
                self.wanted.pop(model, None)
        for model in self._ready.keys() - ready:
            del self._ready[model]
        for model in ready - self._ready.keys():
            with suppress(ModelAbsent), self._line.asking(f"the configuration of {model}"):
                answer = await self._line.client.get_model_config(*model, client_timeout=ASK_S)
                self.wanted[model] = self._ready[model] = answer.config
                self._seen.add(model)

    async def probe(self) -> None:
        """Asks whether it is alive and still has what it had, and notes it. Raises nothing.

        Where it does not answer, whatever it was given is called back.
        """
        try:
            alive = await self._line.is_alive()
            if alive and not self._line.up:
                await self._meet()
            elif alive:
                await self._check()
        except EngineFailed:
            alive = False
        self._line.mark(up=alive)
        if not alive:
            self._line.call_back()

    async def load(self, model: ModelVersion, config: model_config_pb2.ModelConfig) -> model_config_pb2.ModelConfig:
        """Adds a version to those that are ready, which go on; `config` is for a server that has none of them.

        Returns how the server runs it. Raises EngineFailed.
        """
        async with self._changing:
            await self.look()
            if model not in self._ready:
                versions = self._versions(model.name)
                await self._load(model.name, versions | {model.version}, self._config(model.name) or config)
                await self.look()
            if model not in self._ready:
                raise EngineFailed(f"model {model} is not ready after its load")
            self._dead.pop(model, None)
            self._loaded_at[model] = time.monotonic()
            return self._ready[model]

    async def unload(self, model: ModelVersion) -> None:
        """Takes a version away; the others of the model go on. Raises EngineFailed."""
        async with self._changing:
            await self.look()
            config = self._config(model.name)
            rest = self._versions(model.name) - {model.version}
            if model in self._ready and rest and config is not None:
                try:
                    await self._load(model.name, rest, config)
                except LoadRefused as exc:
                    raise EngineFailed(f"the engine cannot unload {model}; its log says why") from exc
            elif model in self._ready:
                with self._line.asking(f"unloading {model}"):
                    await self._line.client.unload_model(model.name, client_timeout=LOAD_S)
            self._ready.pop(model, None)
            self._dead.pop(model, None)
            self.wanted.pop(model, None)
            self._seen.discard(model)

    async def reload(self, model: ModelVersion) -> None:
        """Brings back a version that is lost or dead. Raises what load and unload do; it stays wanted then."""
        config = self.wanted.get(model)
        if config is None:
            return
        try:
            if model in self._dead:
                await self.unload(model)
            await self.load(model, config)
        finally:
            self.wanted.setdefault(model, config)

    async def register(self, slot: Slot, retired: Set[str], deadline: float) -> None:
        """Makes a slot known to the server, and those of these names forgotten. Raises EngineFailed where it cannot."""
        if slot.name in self._regions:
            return
        await self.forget(retired)
        async with self._line.cut_off():
            with self._line.translated("registering shared memory"):
                try:
                    await self._line.client.register_system_shared_memory(
                        slot.name, f"/{slot.name}", slot.byte_size, client_timeout=deadline - time.monotonic()
                    )
                except InferenceServerException as exc:
                    # It was told before, by a request that was cancelled meanwhile.
                    if exc.status() != "StatusCode.ALREADY_EXISTS":
                        raise
        self._regions.add(slot.name)

    async def forget(self, names: Set[str] | None = None) -> None:
        """Unregisters the slots of these names, or all; those in use stay mapped until the server ends."""
        for name in self._regions.copy() if names is None else self._regions & names:
            self._regions.discard(name)
            if self._line.up:
                with suppress(EngineFailed), self._line.asking("unregistering shared memory"):
                    await self._line.client.unregister_system_shared_memory(name, client_timeout=ASK_S)

    def _note(self, error: Exception, model: ModelVersion, started: float) -> None:
        self._line.suspicion.set()
        if isinstance(error, ModelAbsent):
            self._ready.pop(model, None)
        elif isinstance(error, RegionUnknown):
            self._regions.clear()
        # What was asked before the model was reloaded says nothing of the new process.
        elif isinstance(error, ModelDead) and started > self._loaded_at.get(model, 0.0):
            self._dead[model] = time.monotonic() + DEAD_S

    async def _check(self) -> None:
        """It may have been started anew between two looks, or another gateway may have loaded or unloaded something."""
        for model in list(self._seen):
            ready = False
            with suppress(ModelAbsent), self._line.asking(f"whether {model} is ready"):
                ready = await self._line.client.is_model_ready(*model, client_timeout=ASK_S)
            if ready != (model in self._ready):
                await self.look()
                break

    async def _meet(self) -> None:
        """It may be another process than the one that was known."""
        self._ready.clear()
        self._dead.clear()
        self._regions.clear()
        with self._line.asking("the server's version"):
            server = await self._line.client.get_server_metadata(client_timeout=ASK_S)
        self.engine = f"triton {server.version}"
        await self.look()
        logger.info("%s answers: %s", self.url, self.engine)

    def _versions(self, name: str) -> set[str]:
        return {version for other, version in self._ready if other == name}

    def _config(self, name: str) -> model_config_pb2.ModelConfig | None:
        return next((config for (other, _), config in self._ready.items() if other == name), None)

    async def _load(self, name: str, versions: set[str], config: model_config_pb2.ModelConfig) -> None:
        try:
            with self._line.asking(f"loading {name} with versions {sorted(versions)}"):
                await self._line.client.load_model(name, config=override(config, versions), client_timeout=LOAD_S)
        except (EngineDown, EngineSilent):
            raise
        except EngineFailed as exc:
            raise LoadRefused(f"the engine cannot load model {name!r}; its log says why") from exc
