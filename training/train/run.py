"""A run: what changes while training, and the folder that keeps it.

The folder holds the resolved recipe (config.json), what a repetition needs besides (run.json), one line of results per
epoch (results.csv), the last and the best checkpoint, the best epoch's figures (best.json), and checkpoints now and
then where the recipe asks for them. A run whose folder holds ``last.pt`` goes on there, in the middle of an epoch too:
order and augmentation follow from (seed, epoch) alone, and all else is in the checkpoint, gradients that wait for the
next step among it. On one process it goes on as if it had not stopped.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint, CheckpointError
from training.config import Config, ConfigError, config_from_dict, config_to_dict
from training.distributed import Processes
from training.evaluate import ClassScore, Evaluation
from training.nets import VARIANTS, Network, Variant, build_network, find_variant
from training.optim import Ema, Schedule, build_optimizer
from training.train.results import append_row
from training.train.tally import Tally
from training.train.transfer import freeze, read_source, transfer

_log = logging.getLogger(__name__)

# Keys of the recipe that say where a run runs and what it keeps, not what it computes.
_MAY_CHANGE = (
    *("workers", "cache_gib", "disk_cache", "disk_cache_gib", "device", "compile"),
    *("patience", "checkpoint_every", "keep_checkpoints"),
)


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


def start(
    config: Config,
    class_names: tuple[str, ...],
    folder: Path,
    *,
    batches: int,
    weights: Path | None = None,
    processes: Processes | None = None,
    data: str = "",
) -> Run:
    """Begin a run of ``batches`` batches an epoch, or go on with the one in ``folder``. ``data`` names the set's state.

    ``weights`` are read at the beginning alone.

    Raises ConfigError for a recipe that cannot be run here, CheckpointError if the folder holds a run of another
    recipe, of other data or of other classes.
    """
    processes = processes or Processes()
    device = choose_device(config, processes)
    network = _network(config, len(class_names)).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    folder.mkdir(parents=True, exist_ok=True)
    goes_on = (folder / "last.pt").exists()
    if weights is not None and not goes_on:
        transfer(network, read_source(weights))
    processes.copy_from_main(network.state_dict().values())
    schedule = Schedule(config.optimizer, epochs=config.epochs, batches_per_epoch=batches, batch_size=config.batch_size)
    ema = Ema(network, decay=config.optimizer.ema_decay, tau=config.optimizer.ema_tau)
    if device.type == "cuda" and not processes.alone:  # the average stays plain: it is for one process
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    run = Run(
        folder=folder,
        config=config,
        class_names=class_names,
        device=device,
        network=network,
        optimizer=build_optimizer(network, config.optimizer, batch_size=config.batch_size),
        schedule=schedule,
        ema=ema,
        scaler=torch.amp.GradScaler(device.type, enabled=config.precision == "fp16"),
        tally=Tally.empty(device),
        processes=processes,
        data=data,
    )
    if goes_on:
        _resume(run, Checkpoint.load(folder / "last.pt"))
    if len(set(processes.gather(run.iteration))) > 1:
        raise ConfigError(f"the processes see different states of {folder}: it must be one folder for all machines")
    if processes.is_main:
        for unfinished in folder.glob(".*.pt.*.tmp"):  # a process was killed while it wrote
            unfinished.unlink()
        (folder / "config.json").write_text(json.dumps(config_to_dict(config), indent=2))
    return run


def best_evaluation(folder: Path) -> Evaluation:
    """Read the best epoch's figures back."""
    table = json.loads((folder / "best.json").read_text())
    del table["epoch"]
    per_class = {name: ClassScore(**scores) for name, scores in table.pop("per_class").items()}
    return Evaluation(**table, per_class=per_class)


def choose_device(config: Config, processes: Processes) -> torch.device:
    """Return what this process trains on. Raises ConfigError for a GPU that is not there."""
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ConfigError("device is cuda, but torch finds no CUDA GPU here")
    if not available or config.device == "cpu":
        return torch.device("cpu")
    if processes.local_rank >= torch.cuda.device_count():
        raise ConfigError(f"process {processes.local_rank} of this machine has no GPU: it has fewer than processes")
    return torch.device("cuda", processes.local_rank)


def _network(config: Config, num_classes: int) -> Network:
    network = build_network(_variant(config), num_classes=num_classes)
    if config.anchors:
        _set_anchors(network, config.anchors)
    if config.freeze or config.freeze_names:
        frozen = freeze(network, entries=config.freeze, names=config.freeze_names)
        which = f", from {frozen[0]} to {frozen[-1]}" if frozen else ""  # an entry may have none
        _log.info("frozen: %d parameters%s", len(frozen), which)
    return network


def _set_anchors(network: Network, levels: Iterable[Iterable[float]]) -> None:
    tables, wanted = network.head.anchors, [list(level) for level in levels]
    per_level = tables.cells.shape[1] * 2
    if [len(level) for level in wanted] != [per_level] * len(network.strides):
        raise ConfigError(f"anchors must be {len(network.strides)} lists of {per_level} numbers: width, height, ...")
    pixels = torch.tensor(wanted).view_as(tables.cells)
    tables.pixels.copy_(pixels.view_as(tables.pixels))
    tables.cells.copy_(pixels / torch.tensor(network.strides).view(-1, 1, 1))


def _resume(run: Run, saved: Checkpoint) -> None:
    if _identity(saved.config) != _identity(config_to_dict(run.config)) or saved.class_names != run.class_names:
        raise CheckpointError(f"{run.folder} holds a run of another recipe or of other classes; choose another folder")
    if run.data != saved.extra.get("data", run.data):
        raise CheckpointError(f"{run.folder} holds a run of other data: images or boxes changed; choose another folder")
    assert saved.ema is not None
    assert saved.optimizer is not None
    run.network.load_state_dict(saved.state)
    run.ema.load_state_dict({"network": saved.ema, "updates": saved.extra["ema_updates"]})
    fused = {"fused": run.optimizer.defaults["fused"]}  # as the device wants it, which may be another now
    groups = [group | fused for group in saved.optimizer["param_groups"]]
    run.optimizer.load_state_dict(saved.optimizer | {"param_groups": groups})
    for name, gradient in saved.extra.get("gradients", {}).items():
        parameter = run.network.get_parameter(name)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    run.epoch = saved.epoch
    run.step = max(saved.iteration - saved.epoch * run.schedule.batches_per_epoch, 0)
    run.best, run.best_epoch = saved.extra["best"], saved.extra.get("best_epoch", saved.epoch)
    run.scaler.load_state_dict(saved.extra.get("scaler", {}) if run.scaler.is_enabled() else {})
    if run.processes.is_main and run.step:
        run.tally = Tally(*(value.to(run.device) for value in saved.extra["tally"]))
    _restore_generators(saved.extra.get("rng", {}), run.device)
    _log.info("resumed %s after epoch %d and %d batches", run.folder, run.epoch, run.step)


def _identity(config: dict[str, Any]) -> Config:
    """What makes two runs the same; keys that a run of an older version lacks have their defaults."""
    defaults = config_to_dict(Config())
    try:
        return config_from_dict(config | {key: defaults[key] for key in _MAY_CHANGE})
    except ConfigError as exc:
        raise CheckpointError(f"the run's recipe is of another version ({exc}); choose another folder") from exc


def _generators(device: torch.device) -> dict[str, Tensor]:
    """States of torch's generators. Nothing draws from them between two steps today; what will, goes on."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _variant(config: Config) -> Variant:
    variant = find_variant(config.variant)
    if variant is None:
        raise ConfigError(f"unknown variant {config.variant!r}; known: {', '.join(VARIANTS)}")
    if config.image_size % variant.strides[-1]:
        raise ConfigError(
            f"image_size must be a multiple of {variant.strides[-1]} for {variant.name}, not {config.image_size}"
        )
    return variant
