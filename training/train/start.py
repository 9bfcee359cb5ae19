"""The start of a run: the network on its device, what trains it, and the folder; or an older run, which goes on."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from training.checkpoint import Checkpoint
from training.config import Config, ConfigError, config_to_dict
from training.distributed import Processes
from training.nets import VARIANTS, Network, Variant, build_network, find_variant
from training.optim import Ema, Schedule, build_optimizer
from training.train.resume import resume
from training.train.run import Run
from training.train.tally import Tally
from training.train.transfer import freeze, read_source, transfer

_log = logging.getLogger(__name__)


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
    network = make_network(config, len(class_names)).to(device)
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
        resume(run, Checkpoint.load(folder / "last.pt"))
    if len(set(processes.gather(run.iteration))) > 1:
        raise ConfigError(f"the processes see different states of {folder}: it must be one folder for all machines")
    if processes.is_main:
        for unfinished in folder.glob(".*.pt.*.tmp"):  # a process was killed while it wrote
            unfinished.unlink()
        (folder / "config.json").write_text(json.dumps(config_to_dict(config), indent=2))
    return run


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


def make_network(config: Config, num_classes: int) -> Network:
    """Build the recipe's variant, with its anchors and what it freezes. Raises ConfigError where they do not fit."""
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


def _variant(config: Config) -> Variant:
    variant = find_variant(config.variant)
    if variant is None:
        raise ConfigError(f"unknown variant {config.variant!r}; known: {', '.join(VARIANTS)}")
    if config.image_size % variant.strides[-1]:
        raise ConfigError(
            f"image_size must be a multiple of {variant.strides[-1]} for {variant.name}, not {config.image_size}"
        )
    return variant
