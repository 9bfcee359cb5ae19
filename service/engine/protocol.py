"""What the rest of the service knows of an engine. It says nothing of where or how the network runs."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.repository import StoredModel
from service.vision.detections import Candidates
from service.vision.passport import EnginePassport


class ModelVersion(NamedTuple):
    """One version of one model."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Target:
    """What one batch is for: a model version at one input shape. The batcher's group."""

    model: ModelVersion
    shape_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passport:
    """What an engine says of a model version that it has loaded.

    `precision` is what it computes in, whatever the weights are stored in: f32, bf16, fp16 or int8. `max_batch_size` is
    how many images one batch may hold. `papers`: what the file's own passport says, where it has one.
    """

    engine: str
    device: str
    precision: str
    max_batch_size: int
    papers: EnginePassport | None = None

    @property
    def computes(self) -> str:
        """What decides its numbers beside the version's spec: a file that was quantised anew answers otherwise."""
        return " ".join((self.precision, *(sorted(self.papers.sha256.values()) if self.papers else ())))


class Engine(Protocol):
    """Runs the served graph: uint8 pictures in, the best candidates of each out.

    `parallelism` is the most batches that it is worth giving it at once.
    """

    @property
    def parallelism(self) -> int:
        """At least 1."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other gateways may use the same models: what one unloads is gone for all."""
        ...

    @property
    def wanted(self) -> Set[ModelVersion]:
        """What it loads now or means to bring back by itself: all that it had and was not told to unload."""
        ...

    async def start(self) -> None:
        """Connects, or whatever else must happen once in the running loop. Does not fail because a server is away."""
        ...

    async def load(self, stored: StoredModel) -> Passport:
        """Makes a model version ready to infer; harmless if it is already. May take seconds; others go on meanwhile.

        Raises RepositoryError where the model's files are wrong, EngineFailed where the engine cannot do it now.
        """
        ...

    async def unload(self, model: ModelVersion) -> None:
        """Frees it; harmless if it is not loaded. Whoever calls has seen to it that no batch is in hand.

        Raises EngineFailed where the engine cannot do it now.
        """
        ...

    async def loaded(self) -> Mapping[ModelVersion, Passport]:
        """What is loaded now, by whomever. Raises EngineDown where no engine can be reached."""
        ...

    async def infer(
        self, target: Target, images: Sequence[NDArray[np.uint8]], *, deadline: float
    ) -> Sequence[Candidates]:
        """One answer per image, in order, each in arrays of its own. Raises EngineFailed, for all of them.

        images: each (H, W, 3) uint8 RGB, C-contiguous, letterboxed to `target.shape_hw`.
        deadline: a reading of time.monotonic(), after which nobody waits for any of the answers.
        """
        ...

    async def aclose(self) -> None:
        """Waits for the batches in hand, then frees the device."""
        ...
