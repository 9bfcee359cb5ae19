"""Reasons to leave an epoch between two batches: a signal, or a loss that is not a number.

Several processes must leave at the same batch, so they agree on it whenever losses are looked at. Alone, a signal is
obeyed at once.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.train.finite import Circumstances, FiniteCheck, NonFiniteLoss, Seen, refuse
from training.train.run import Run
from training.train.stop import StopRequest


class Interrupted(Exception):  # nothing went wrong
    """A signal came, here or at another process; on its way to where the run is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(slots=True)
class Guard:
    """Watches one epoch. ``images``: names of this process's images, in the epoch's order."""

    run: Run
    stop: StopRequest
    images: Sequence[str]
    per_batch: int
    check: FiniteCheck = field(init=False)

    def __post_init__(self) -> None:
        self.check = FiniteCheck(self.run.device)

    def before(self) -> None:
        """Look around before a batch. Raises Interrupted, with the run as it was after the last one; NonFiniteLoss.

        Before a signal is obeyed the losses are looked at: what is kept then must not be spoilt already.
        """
        signalled = self.run.processes.alone and self.stop.number
        if signalled or self.check.due(self.run.step):
            self._look(obey=True)

    def passes(self, weighted: Tensor) -> None:
        """Take a batch's terms (3,). Raises NonFiniteLoss where that costs no waiting: no weight has changed yet."""
        self.check.add(self.run.step, weighted.detach())
        if self.run.processes.alone and self.run.device.type == "cpu":
            self._look(obey=False)

    def end(self) -> None:
        """Look at what is left of the epoch. Raises NonFiniteLoss."""
        self._look(obey=False)

    def _look(self, *, obey: bool) -> None:
        found = self.check.look()
        flags = torch.tensor([float(found is not None), float(bool(self.stop.number))], device=self.run.device)
        broken, stopping = self.run.processes.sum(flags).tolist()
        if found is not None:
            raise self._refusal(found)
        if broken:
            raise NonFiniteLoss("the loss of another process is not finite; its report is in the run's folder")
        if stopping and obey:
            raise Interrupted(self.stop.number or signal.SIGTERM)

    def _refusal(self, found: Seen) -> NonFiniteLoss:
        run, first = self.run, found.batch * self.per_batch
        around = Circumstances(
            run.config,
            epoch=run.epoch,
            rank=run.processes.rank,
            rates=run.schedule.at(run.epoch * run.schedule.batches_per_epoch + found.batch),
            images=list(self.images[first : first + self.per_batch]),
            network=run.network,
        )
        return refuse(run.folder, found, self.check.last, around)
