"""The engine on the network: one or several NVIDIA Triton servers, each of which could do the whole work.

    triton.py         which server gets a batch, and what happens when it cannot be had there
    endpoint.py       one server: calls, errors, what it has ready
    watch.py          notices that a server is away, back, or has lost a model, and reloads that
    contract.py       what a server must say of a model and answer for it
    shared_memory.py  images on their way to a server on this host

The servers read a repository with the names, versions and config.pbtxt of ours, and run with explicit model control.
A batch that meets a server that is gone is tried at another one within its deadline; at worst it is computed twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferResult, model_config_pb2

from service.engine.contract import Contract, candidates, engine_file, passport_of, read_config
from service.engine.endpoint import Batch, Endpoint
from service.engine.papers import admit
from service.engine.protocol import ModelVersion, Passport, Target
from service.engine.repository import StoredModel
from service.engine.shared_memory import Slot, Slots, sweep
from service.engine.triton_errors import ModelAbsent, ModelDead, RegionUnknown
from service.engine.watch import Lease, Watch
from service.errors import EngineDown, EngineFailed, Overloaded, RepositoryError
from service.metrics import Metrics
from service.vision.detections import Candidates
from service.vision.passport import EnginePassport

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# Bytes of images that are copied on the event loop: under a millisecond.
COPIED_IN_PLACE = 2 << 20


@dataclass(frozen=True, slots=True)
class TritonOptions:
    """What an operator may choose.

    urls: gRPC addresses, host:port. parallelism: batches in flight over all of them. shared_memory "auto": for servers
    on this host. default_precision: of models whose config.pbtxt has no `parameters { key: "precision" }`.
    """

    urls: tuple[str, ...]
    parallelism: int
    shared_memory: Literal["auto", "on", "off"] = "auto"
    default_precision: str = "fp16"


class TritonEngine:
    """An Engine. `lease(name, seconds)` is true for one gateway of all: that one reloads what a server has lost."""

    def __init__(self, options: TritonOptions, *, metrics: Metrics, lease: Lease) -> None:
        self._options = options
        self._endpoints = [Endpoint(url, metrics) for url in options.urls]
        self._watches = [Watch(endpoint, metrics=metrics, lease=lease) for endpoint in self._endpoints]
        self._slots = Slots(options.parallelism)
        self._mappable = {
            endpoint
            for endpoint in self._endpoints
            if options.shared_memory == "on" or (options.shared_memory == "auto" and endpoint.local)
        }
        self._contracts: dict[ModelVersion, Contract] = {}
        self._papers: dict[ModelVersion, EnginePassport | None] = {}
        self._in_hand = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def parallelism(self) -> int:
        """As the operator chose."""
        return self._options.parallelism

    @property
    def shared(self) -> bool:
        """Any number of gateways may use the same servers."""
        return True

    @property
    def wanted(self) -> Set[ModelVersion]:
        """See Engine.wanted."""
        return {model for endpoint in self._endpoints for model in (*endpoint.wanted, *endpoint.loading)}

    async def start(self) -> None:
        """See Engine.start. Takes a few seconds at most where a server does not answer."""
        if self._mappable:
            await asyncio.to_thread(sweep)
        for endpoint in self._endpoints:
            endpoint.connect()
        await asyncio.gather(*(watch.start() for watch in self._watches))

    async def load(self, stored: StoredModel) -> Passport:
        """See Engine.load. Every server that is up loads it now; those that cannot are left to their watches.

        Raises RepositoryError for what is wrong on our side only: a server's own files, device and memory may be put
        right at any time.
        """
        model = ModelVersion(stored.spec.name, stored.spec.version)
        config = await asyncio.to_thread(read_config, stored)
        self._papers[model] = await asyncio.to_thread(_papers, stored, config)
        up = self._up()
        outcomes = await asyncio.gather(
            *(watch.load(model, config) for watch in self._watches if watch.endpoint in up), return_exceptions=True
        )
        configs = _answers(outcomes)
        contract = Contract.of_spec(stored.spec)
        if any(Contract.of_config(each) != contract for _, each in configs):
            raise RepositoryError(f"model {model} has other tensors in the engine than in its spec")
        self._contracts[model] = contract
        for endpoint in self._endpoints:
            if model not in endpoint.ready:
                endpoint.wanted.setdefault(model, config)
        first, its_config = configs[0]
        return self._passport(model, up[first], its_config)

    async def unload(self, model: ModelVersion) -> None:
        """See Engine.unload."""
        for endpoint in self._endpoints:
            endpoint.wanted.pop(model, None)
        # Each to its end; then the first error is raised.
        outcomes = await asyncio.gather(*(endpoint.unload(model) for endpoint in self._up()), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        self._contracts.pop(model, None)
        self._papers.pop(model, None)

    async def loaded(self) -> Mapping[ModelVersion, Passport]:
        """See Engine.loaded. What any server has ready counts: batches go to those that have it."""
        await asyncio.gather(*(_look(endpoint) for endpoint in self._up()))
        passports: dict[ModelVersion, Passport] = {}
        for endpoint in self._up():
            for model, config in endpoint.ready.items():
                contract = self._contracts.get(model) or Contract.of_config(config)
                if contract is not None:
                    self._contracts[model] = contract
                    # The first server's, as at a load: where several differ it is not to change with every look.
                    passports.setdefault(model, self._passport(model, endpoint, config))
        return passports

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        """See Engine.infer. Cancelling it cancels the call.

        Raises DeadlineExceeded, Overloaded, EngineDown where no server answers, EngineNonsense for an answer that
        breaks the model's contract, else EngineFailed.
        """
        contract = self._contracts.get(target.model)
        self._up()
        if contract is None:
            raise _not_ready(target.model)
        slot = self._slots.take(sum(image.nbytes for image in images)) if self._mappable else None
        self._in_hand += 1
        self._idle.clear()
        try:
            if slot is not None:
                await _copied(partial(slot.write, images), images)
            tensor = InferInput(contract.input_name, [len(images), *target.shape_hw, 3], "UINT8")
            result = await self._infer(Batch(target.model, contract, tensor, deadline), images, slot)
            return candidates(result, contract, len(images))
        finally:
            if slot is not None:
                self._slots.give_back(slot)
            self._in_hand -= 1
            if not self._in_hand:
                self._idle.set()

    async def aclose(self) -> None:
        """See Engine.aclose. The deadlines of the batches in hand bound the wait."""
        await self._idle.wait()
        await asyncio.gather(*(watch.aclose() for watch in self._watches))
        await asyncio.gather(*(endpoint.forget() for endpoint in self._endpoints))
        await asyncio.gather(*(endpoint.aclose() for endpoint in self._endpoints))
        self._slots.close()

    async def _infer(self, batch: Batch, images: Sequence[NDArray[np.uint8]], slot: Slot | None) -> InferResult:
        """Asks one server after the other, until one answers or fails in a way that another would not mend."""
        failure: EngineFailed | Overloaded = _not_ready(batch.model)
        tried: set[Endpoint] = set()
        while (endpoint := self._idlest(batch.model, tried)) is not None:
            tried.add(endpoint)
            try:
                return await self._infer_at(endpoint, batch, images, slot)
            except (EngineDown, ModelAbsent, ModelDead, Overloaded) as exc:
                failure = exc
        raise failure

    async def _infer_at(
        self, endpoint: Endpoint, batch: Batch, images: Sequence[NDArray[np.uint8]], slot: Slot | None
    ) -> InferResult:
        if slot is not None and await self._map(endpoint, slot, batch.deadline):
            batch.images.set_shared_memory(slot.name, sum(image.nbytes for image in images))
            try:
                return await endpoint.infer(batch)
            except RegionUnknown:  # the server was started anew since
                logger.info("%s forgot the shared memory", endpoint.url)
            if await self._map(endpoint, slot, batch.deadline):
                return await endpoint.infer(batch)
        await _copied(partial(_set_data, batch.images, images), images)
        return await endpoint.infer(batch)

    async def _map(self, endpoint: Endpoint, slot: Slot, deadline: float) -> bool:
        """Whether the server has the slot mapped, after it was told to where it had not. Raises EngineDown."""
        if endpoint not in self._mappable:
            return False
        try:
            await endpoint.register(slot, self._slots.retired, deadline)
        except EngineDown:
            raise
        except EngineFailed:
            self._mappable.discard(endpoint)
            logger.warning("%s cannot reach our shared memory: its images go by gRPC", endpoint.url)
            return False
        return True

    def _up(self) -> list[Endpoint]:
        if up := [endpoint for endpoint in self._endpoints if endpoint.up]:
            return up
        raise EngineDown("no engine can be reached")

    def _idlest(self, model: ModelVersion, tried: set[Endpoint]) -> Endpoint | None:
        """Of those that may serve the model and were not tried, the one with the fewest batches in flight."""
        left = [each for each in self._endpoints if each not in tried and each.may_serve(model)]
        return min(left, key=lambda endpoint: (endpoint.in_flight, endpoint.asked_at), default=None)

    def _passport(self, model: ModelVersion, endpoint: Endpoint, config: model_config_pb2.ModelConfig) -> Passport:
        told = passport_of(config, engine=endpoint.engine, default_precision=self._options.default_precision)
        return replace(told, papers=self._papers.get(model))


def _papers(stored: StoredModel, config: model_config_pb2.ModelConfig) -> EnginePassport | None:
    """Of the file that the servers load, where this gateway can see it: they may have a repository of their own."""
    name = engine_file(config)
    file = stored.onnx.with_name(name) if name else None
    return admit(stored, file, versions=None) if file is not None and file.is_file() else None


def _set_data(tensor: InferInput, images: Sequence[NDArray[np.uint8]]) -> None:
    # A single image is passed on where it lies; only a real batch is copied together.
    tensor.set_data_from_numpy(images[0][np.newaxis] if len(images) == 1 else np.stack(images))


async def _copied(copy: Callable[[], None], images: Sequence[NDArray[np.uint8]]) -> None:
    """Copies here what takes less than handing it to a thread, and the rest there."""
    if sum(image.nbytes for image in images) <= COPIED_IN_PLACE:
        copy()
        return
    copying = asyncio.ensure_future(asyncio.to_thread(copy))
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        # What is being written may not be given to another batch yet.
        await asyncio.wait([copying])
        raise


def _not_ready(model: ModelVersion) -> EngineFailed:
    return EngineFailed(f"the engine has model {model} not ready")


async def _look(endpoint: Endpoint) -> None:
    # A server that fails now is told of by its watch; what is known of it stays.
    with contextlib.suppress(EngineFailed):
        await endpoint.look()


def _answers(outcomes: Sequence[_T | BaseException]) -> list[tuple[int, _T]]:
    """Those that worked, each with its place; raises the first error where none did."""
    answers = [(place, each) for place, each in enumerate(outcomes) if not isinstance(each, BaseException)]
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not (answers and isinstance(outcome, EngineFailed)):
            raise outcome
    return answers
