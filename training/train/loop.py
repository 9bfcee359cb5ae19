"""The training loop, top to bottom: data, forward, criterion, backward, step, EMA, log.

Each epoch the EMA weights are scored in the form that will serve. Precision wraps the network from outside. The loop
knows nothing of files (``run.py``), of ONNX, or of the service beyond ``service.vision``.
"""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from training.config import Config
from training.data import Batch, CocoDataset, DatasetError, TrainDataset, train_loader
from training.data.disk import DiskCache
from training.data.multiscale import draw_side, rescaled
from training.evaluate import Evaluation, detect, max_candidates, score, torch_infer
from training.losses import Criterion
from training.nets import DeployModel, Network
from training.train.curve import draw_curve
from training.train.run import Run, best_evaluation, start


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message names the terms and the batch."""


def train(
    config: Config, train_set: CocoDataset, *, val_set: CocoDataset, folder: Path, weights: Path | None = None
) -> Evaluation:
    """Train to the last epoch, resuming if ``folder`` holds the run, and return the best epoch's evaluation.

    ``weights`` is a checkpoint whose tensors of the same name and shape are taken at the start (transfer).
    Raises DatasetError, ConfigError, CheckpointError, NonFiniteLoss.
    """
    _check_sets(train_set, val_set)
    torch.manual_seed(config.seed)
    dataset = TrainDataset(
        train_set,
        config.augmentation,
        image_size=config.image_size,
        seed=config.seed,
        cache_bytes=int(config.cache_gib * 2**30),
        disk=DiskCache(Path(config.disk_cache), int(config.disk_cache_gib * 2**30)) if config.disk_cache else None,
    )
    loader = train_loader(
        dataset,
        config.batch_size,
        workers=config.workers,
        pin_memory=config.device != "cpu" and torch.cuda.is_available(),
    )
    run = start(config, train_set.class_names, folder, batches=len(loader), weights=weights)
    criterion = _criterion(run.network, config).to(run.device)
    while run.epoch < config.epochs:
        started = time.monotonic()
        dataset.set_epoch(run.epoch)
        losses = train_one_epoch(run, loader, criterion)
        run.epoch += 1
        due = run.epoch % config.evaluate_every == 0 or run.epoch == config.epochs
        evaluation = evaluate_ema(run, val_set) if due else None
        run.keep(losses, evaluation, seconds=time.monotonic() - started)
    draw_curve(folder)
    return best_evaluation(folder)


def train_one_epoch(run: Run, loader: DataLoader[Batch], criterion: Criterion) -> dict[str, float]:
    """One pass over the data; returns the mean over batches of each weighted loss term."""
    network, config, device = run.network.train(), run.config, run.device
    sums: dict[str, Tensor] = {}
    first = run.epoch * len(loader)
    for step, batch in enumerate(_progress(loader, f"epoch {run.epoch + 1}/{config.epochs}")):
        now = run.schedule.at(first + step)
        for group, rate in zip(run.optimizer.param_groups, now.learning_rates, strict=True):
            group["lr"], group["momentum"] = rate, now.momentum
        images = batch.images.to(device, memory_format=torch.channels_last, non_blocking=True).float().div_(255)
        if config.multi_scale:
            side = draw_side(
                config.seed, first + step, image_size=config.image_size, stride=max(network.strides[-1], 32)
            )
            images = rescaled(images, side)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
            outputs = network(images)
        terms = criterion(outputs, batch.targets, (images.shape[2], images.shape[3]))
        weighted = {name: criterion.weights[name] * term for name, term in terms.items()}
        loss = torch.stack(list(weighted.values())).sum() * len(images)
        if not math.isfinite(loss.item()):
            found = ", ".join(f"{name} {term.item():.4g}" for name, term in weighted.items())
            raise NonFiniteLoss(f"epoch {run.epoch + 1}, batch {step}: the loss is not finite ({found})")
        torch.autograd.backward(loss)
        if (first + step) % now.accumulate == 0:
            run.optimizer.step()
            run.optimizer.zero_grad()
            run.ema.update(network)
        for name, term in weighted.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + term.detach()
    return {name: total.item() / len(loader) for name, total in sums.items()}


def evaluate_ema(run: Run, val_set: CocoDataset) -> Evaluation:
    """Score the EMA weights in the form that will serve, in float32, letterboxed to the square of the training size."""
    shapes_hw = ((run.config.image_size, run.config.image_size),)
    model = DeployModel(run.ema.network, max_candidates(run.ema.network, shapes_hw)).eval()
    return score(val_set, detect(torch_infer(model, run.device), val_set, shapes_hw=shapes_hw))


def _check_sets(train_set: CocoDataset, val_set: CocoDataset) -> None:
    """Refuse what would only show after the first epoch, or never. Raises DatasetError."""
    if train_set.class_names != val_set.class_names:
        names = (", ".join(dataset.class_names) for dataset in (train_set, val_set))
        raise DatasetError("training and validation set differ in their classes: {} and {}".format(*names))
    for what, dataset in (("training", train_set), ("validation", val_set)):
        if all(image.crowd.all() for image in dataset.images):
            raise DatasetError(f"the {what} set has no objects")


def _criterion(network: Network, config: Config) -> Criterion:
    return Criterion(
        config.loss,
        num_classes=network.num_classes,
        strides=network.strides,
        anchors_px=network.anchors,
        image_size=config.image_size,
    )


def _progress(loader: DataLoader[Batch], title: str) -> Iterator[Batch]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as bar:
        yield from bar.track(loader, description=title)
