"""What the rest of the service knows of an engine. It says nothing of where or how the network runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates


@dataclass(frozen=True, slots=True)
class Target:
    """What one batch is for: a model version at one input shape. The batcher's group."""

    model: str
    version: str
    shape_hw: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passport:
    """What an engine says of itself.

    `precision` is what it computes in, whatever the weights are stored in. `parallelism` is how many batches it
    profits from having at once, `max_batch_size` how many images one of them may hold.
    """

    engine: str
    device: str
    precision: str
    parallelism: int
    max_batch_size: int


class Engine(Protocol):
    """Runs the served graph: uint8 pictures in, the best candidates of each out."""

    @property
    def passport(self) -> Passport:
        """What it says of itself."""
        ...

    async def infer(self, target: Target, images: Sequence[NDArray[np.uint8]]) -> Sequence[Candidates]:
        """One answer per image, in order. Raises EngineFailed, for all of them.

        images: each (H, W, 3) uint8 RGB, C-contiguous, letterboxed to `target.shape_hw`.
        """
        ...

    async def aclose(self) -> None:
        """Waits for the batches in hand, then frees the device."""
        ...
