"""The processes that train together: who they are, and what they tell one another.

``torchrun`` starts them, on one machine or many, and says through the environment who is who. Alone, every exchange
returns what it was given, so that the loop has one form. Nothing here knows what is exchanged.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_T = TypeVar("_T")

# The others wait while rank 0 scores an epoch and writes checkpoints; the default of ten minutes is too short for that.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all. ``local_rank`` counts those of its machine: the number of its GPU."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.world_size == 1

    def sum(self, value: Tensor) -> Tensor:
        """Add ``value`` up over all processes, in place; without waiting for the device on a GPU."""
        if not self.alone:
            dist.all_reduce(value)
        return value

    def gather(self, value: _T) -> list[_T]:
        """Return every process's ``value``, by rank. They travel as pickles between processes of one run."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def from_main(self, value: _T) -> _T:
        """Return what rank 0 has."""
        if self.alone:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box)
        shared: _T = box[0]
        return shared

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite ``tensors`` with those of rank 0."""
        for tensor in () if self.alone else tensors:
            dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Return when all have come here."""
        if not self.alone:
            dist.barrier()


def identify() -> Processes:
    """Read what ``torchrun`` says of this process; alone where it says nothing."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    return Processes(*(int(os.environ.get(name, default)) for name, default in zip(names, (0, 0, 1), strict=True)))


@contextlib.contextmanager
def joined(*, cuda: bool) -> Iterator[Processes]:
    """Meet the other processes: NCCL where they train on GPUs, one each, and gloo otherwise."""
    processes = identify()
    if cuda:
        torch.cuda.set_device(processes.local_rank)
    if processes.alone:
        yield processes
        return
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield processes
    finally:
        dist.destroy_process_group()
