"""A run: what changes while training, and the folder that keeps it.

The folder holds the resolved recipe (config.json), one line of results per epoch (results.csv), the last and the best
checkpoint and the best epoch's figures (best.json). A run whose folder holds ``last.pt`` goes on after that epoch; data
order and augmentation follow from (seed, epoch) alone, and gradients that wait for the next step are kept, so it goes
on as if it had not stopped.
"""

import csv
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.checkpoint import Checkpoint, CheckpointError
from training.config import Config, ConfigError, config_to_dict
from training.evaluate import ClassScore, Evaluation
from training.nets import VARIANTS, Network, Variant, build_network, find_variant
from training.optim import Ema, Schedule, build_optimizer

_log = logging.getLogger(__name__)

_COLUMNS = ("epoch", "seconds", "box", "objectness", "classification", "ap", "ap50", "ap75")
# Keys of the recipe that say where a run runs, not what it computes.
_MAY_CHANGE = ("workers", "cache_gib", "disk_cache", "disk_cache_gib", "device")


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
    epoch: int = 0  # epochs completed
    best: float = -1.0

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
            config=config_to_dict(self.config),
            metrics=metrics,
            extra={"ema_updates": self.ema.updates, "best": self.best, "gradients": self._gradients()},
        )

    def _gradients(self) -> dict[str, Tensor]:
        """What batches since the last step have gathered: an epoch may end between two steps."""
        return {name: p.grad for name, p in self.network.named_parameters() if p.grad is not None}

    def keep(self, losses: dict[str, float], evaluation: Evaluation | None, *, seconds: float) -> None:
        """Write the checkpoints and one line of results; the best first, so that a stop in between loses nothing."""
        metrics = {}
        if evaluation:
            metrics = {"ap": evaluation.ap, "ap50": evaluation.ap50, "ap75": evaluation.ap75}
            if evaluation.fitness > self.best:
                self.best = evaluation.fitness
                self.checkpoint(metrics).save(self.folder / "best.pt")
                table = {"epoch": self.epoch, **evaluation.to_dict()}
                (self.folder / "best.json").write_text(json.dumps(table, indent=2))
        self.checkpoint(metrics).save(self.folder / "last.pt")
        row = {"epoch": str(self.epoch), "seconds": f"{seconds:.1f}"}
        row |= {name: f"{value:.4g}" for name, value in (losses | metrics).items()}
        _append(self.folder / "results.csv", row)
        _log.info("  ".join(f"{name} {value}" for name, value in row.items()))


def start(config: Config, class_names: tuple[str, ...], folder: Path, *, batches: int, weights: Path | None) -> Run:
    """Begin a run of ``batches`` batches an epoch, or go on with the one in ``folder``.

    Raises ConfigError for a recipe that cannot be run here, CheckpointError if the folder holds a run of another recipe
    or of other classes.
    """
    device = _device(config)
    variant = _variant(config)
    folder.mkdir(parents=True, exist_ok=True)
    network = build_network(variant, num_classes=len(class_names))
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    if weights is not None:
        _transfer(network, Checkpoint.load(weights))
    schedule = Schedule(config.optimizer, epochs=config.epochs, batches_per_epoch=batches, batch_size=config.batch_size)
    run = Run(
        folder=folder,
        config=config,
        class_names=class_names,
        device=device,
        network=network,
        optimizer=build_optimizer(network, config.optimizer, batch_size=config.batch_size),
        schedule=schedule,
        ema=Ema(network, decay=config.optimizer.ema_decay, tau=config.optimizer.ema_tau),
    )
    if (folder / "last.pt").exists():
        _resume(run, Checkpoint.load(folder / "last.pt"))
    (folder / "config.json").write_text(json.dumps(config_to_dict(config), indent=2))
    return run


def best_evaluation(folder: Path) -> Evaluation:
    """Read the best epoch's figures back."""
    table = json.loads((folder / "best.json").read_text())
    del table["epoch"]
    per_class = {name: ClassScore(**scores) for name, scores in table.pop("per_class").items()}
    return Evaluation(**table, per_class=per_class)


def _resume(run: Run, saved: Checkpoint) -> None:
    if _identity(saved.config) != _identity(config_to_dict(run.config)) or saved.class_names != run.class_names:
        raise CheckpointError(f"{run.folder} holds a run of another recipe or of other classes; choose another folder")
    assert saved.ema is not None
    assert saved.optimizer is not None
    run.network.load_state_dict(saved.state)
    run.ema.load_state_dict({"network": saved.ema, "updates": saved.extra["ema_updates"]})
    run.optimizer.load_state_dict(saved.optimizer)
    for name, gradient in saved.extra.get("gradients", {}).items():
        parameter = run.network.get_parameter(name)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    run.epoch = saved.epoch
    run.best = saved.extra["best"]
    _log.info("resumed %s after epoch %d", run.folder, run.epoch)


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _MAY_CHANGE}


def _transfer(network: Network, source: Checkpoint) -> None:
    """Take the tensors of the same name and shape, but no anchors; a head for other classes keeps its own start."""
    own = network.state_dict()
    taken = {
        key: value
        for key, value in source.weights.items()
        if key in own and own[key].shape == value.shape and not key.startswith("head.anchors.")
    }
    network.load_state_dict(taken, strict=False)
    _log.info("transferred %d of %d tensors", len(taken), len(own))


def _device(config: Config) -> torch.device:
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ConfigError("device is cuda, but torch finds no CUDA GPU here")
    return torch.device(("cuda" if available else "cpu") if config.device == "auto" else config.device)


def _variant(config: Config) -> Variant:
    variant = find_variant(config.variant)
    if variant is None:
        raise ConfigError(f"unknown variant {config.variant!r}; known: {', '.join(VARIANTS)}")
    if config.image_size % variant.strides[-1]:
        raise ConfigError(
            f"image_size must be a multiple of {variant.strides[-1]} for {variant.name}, not {config.image_size}"
        )
    return variant


def _append(path: Path, row: dict[str, str]) -> None:
    """Add a line; columns that a row lacks (an epoch without evaluation) stay empty."""
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
