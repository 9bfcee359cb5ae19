"""Going on with a run where its folder's ``last.pt`` stopped, in the middle of an epoch too.

Order and augmentation follow from (seed, epoch) alone, and all else is in the checkpoint, gradients that wait for the
next step among it. On one process it goes on as if it had not stopped.
"""

import logging
from typing import Any

import torch
from torch import Tensor

from training.checkpoint import Checkpoint, CheckpointError
from training.config import Config, ConfigError, config_from_dict, config_to_dict
from training.train.run import Run
from training.train.tally import Tally

_log = logging.getLogger(__name__)

# Keys of the recipe that say where a run runs and what it keeps, not what it computes.
_MAY_CHANGE = (
    *("workers", "cache_gib", "disk_cache", "disk_cache_gib", "device", "compile"),
    *("patience", "checkpoint_every", "keep_checkpoints"),
)


def resume(run: Run, saved: Checkpoint) -> None:
    """Bring a run that was just begun to where ``saved`` was. Raises CheckpointError if that is of another run."""
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


def _restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
