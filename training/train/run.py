"""A run: what changes while training, and the folder that keeps it.

The folder holds the resolved recipe (config.json), what a repetition needs besides (run.json), one line of results per
epoch (results.csv), the last and the best checkpoint, the best epoch's figures (best.json), and checkpoints now and
then where the recipe asks for them.
"""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from training.checkpoint import Checkpoint
from training.config import Config, config_to_dict
from training.distributed import Processes
from training.evaluate import ClassScore, Evaluation
from training.nets import Network
from training.optim import Ema, Schedule
from training.train.results import append_row
from training.train.tally import Tally

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Run:
    """The state of training."""

    folder: Path
    config: Config
    class_names: tuple[str, ...]
    device: torch.device
    network: Network
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: Ema[Network]
    scaler: torch.amp.GradScaler
    tally: Tally
    processes: Processes = field(default_factory=Processes)
    data: str = ""  # hash of the training set
    epoch: int = 0  # epochs completed
    step: int = 0  # batches of the next one that are done already
    best: float = -1.0
    best_epoch: int = 0

    @property
    def iteration(self) -> int:
        """Batches done since the start."""
        return self.epoch * self.schedule.batches_per_epoch + self.step

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or as many as the recipe's patience were, up to the last one scored."""
        scored = self.epoch - self.epoch % self.config.evaluate_every
        impatient = self.best_epoch > 0 and 0 < self.config.patience <= scored - self.best_epoch
        return self.epoch >= self.config.epochs or impatient

    def checkpoint(self, metrics: dict[str, float]) -> Checkpoint:
        """Everything that resuming needs."""
        return Checkpoint(
            variant=self.config.variant,
            form="training",
            class_names=self.class_names,
            state=self.network.state_dict(),
            ema=self.ema.state,
            optimizer=self.optimizer.state_dict(),
            epoch=self.epoch,
            iteration=self.iteration,
            config=config_to_dict(self.config),
            metrics=metrics,
            extra={
                "ema_updates": self.ema.updates,
                "best": self.best,
                "best_epoch": self.best_epoch,
                "gradients": {name: p.grad for name, p in self.network.named_parameters() if p.grad is not None},
                "scaler": self.scaler.state_dict(),
                "tally": [self.tally.terms, self.tally.norms],
                "rng": _generators(self.device),
                "data": self.data,
            },
        )

    def close_epoch(self) -> None:
        """Count the epoch as completed."""
        self.epoch, self.step, self.tally = self.epoch + 1, 0, Tally.empty(self.device)

    def keep_position(self) -> None:
        """Write ``last.pt`` in the middle of an epoch. All processes call it."""
        own = self.tally.terms
        self.tally.terms = self.processes.sum(own.clone())
        if self.processes.is_main:
            self.checkpoint({}).save(self.folder / "last.pt")
        self.tally.terms = own
        self.processes.wait()

    def keep(self, figures: dict[str, float], evaluation: Evaluation | None) -> None:
        """Write the checkpoints and one line of results.

        ``last.pt`` comes last: what a stop in between leaves undone is done again from the old one.
        """
        metrics = {}
        if evaluation:
            metrics = {"ap": evaluation.ap, "ap50": evaluation.ap50, "ap75": evaluation.ap75}
            if better := evaluation.fitness > self.best:
                self.best, self.best_epoch = evaluation.fitness, self.epoch
            if better and self.processes.is_main:
                self.checkpoint(metrics).save(self.folder / "best.pt")
                table = {"epoch": self.epoch, **evaluation.to_dict()}
                (self.folder / "best.json").write_text(json.dumps(table, indent=2))
        if not self.processes.is_main:
            return
        if self.config.checkpoint_every and self.epoch % self.config.checkpoint_every == 0:
            self.checkpoint(metrics).save(self.folder / f"epoch-{self.epoch:04d}.pt")
            for old in sorted(self.folder.glob("epoch-*.pt"))[: -self.config.keep_checkpoints]:
                old.unlink()
        row = {"epoch": str(self.epoch)} | {name: f"{value:.4g}" for name, value in (figures | metrics).items()}
        append_row(self.folder / "results.csv", row)
        self.checkpoint(metrics).save(self.folder / "last.pt")
        _log.info("  ".join(f"{name} {value}" for name, value in row.items()))


def best_evaluation(folder: Path) -> Evaluation:
    """Read the best epoch's figures back."""
    table = json.loads((folder / "best.json").read_text())
    del table["epoch"]
    per_class = {name: ClassScore(**scores) for name, scores in table.pop("per_class").items()}
    return Evaluation(**table, per_class=per_class)


def _generators(device: torch.device) -> dict[str, Tensor]:
    """States of torch's generators. Nothing draws from them between two steps today; what will, goes on."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})
