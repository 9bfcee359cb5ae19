"""The training loop, top to bottom: data, forward, criterion, backward, step, EMA, log.

Each epoch the EMA weights are scored in the form that will serve (``validation.py``). Precision and the other processes
wrap the network from outside (``step.py``). The loop knows nothing of files (``run.py``), of ONNX, or of the service.
"""

import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from training.config import Config, ConfigError
from training.data import Batch, CocoDataset, DatasetError, Shard, TrainDataset, train_loader
from training.data.disk import DiskCache
from training.data.loader import EpochOrder
from training.distributed import Processes, identify, joined
from training.evaluate import Evaluation
from training.evaluate.report import write_report
from training.losses import Criterion
from training.train.anchors import ENOUGH_RECALL, box_sizes, measure
from training.train.curve import draw_curve
from training.train.feed import Pace, watched
from training.train.guard import Guard, Interrupted
from training.train.record import add_start, fingerprint
from training.train.run import Run, best_evaluation
from training.train.start import choose_device, start
from training.train.step import Stepper
from training.train.stop import Stopped, StopRequest
from training.train.transfer import rest_frozen_norms
from training.train.validation import evaluate_ema

_log = logging.getLogger(__name__)


def train(
    config: Config, train_set: CocoDataset, *, val_set: CocoDataset, folder: Path, weights: Path | None = None
) -> Evaluation:
    """Train to the last epoch, resuming if ``folder`` holds the run, and return the best epoch's evaluation.

    ``weights`` is a checkpoint or an official file, of which the tensors of the same name and shape are taken at the
    start (transfer). Of processes that ``torchrun`` started, all call this alike. Raises DatasetError, ConfigError,
    CheckpointError, NonFiniteLoss, and Stopped where a signal came.
    """
    _check_sets(train_set, val_set)
    cuda = choose_device(config, identify()).type == "cuda"
    with StopRequest() as stop, joined(cuda=cuda) as processes:
        torch.manual_seed(config.seed + processes.rank)
        # Tries kernels for each new shape and keeps the fastest: worth it where shapes stay.
        torch.backends.cudnn.benchmark = cuda and not config.multi_scale
        loader = _loader(config, train_set, processes, pin_memory=cuda)
        data = {"train": fingerprint(train_set), "val": fingerprint(val_set)}
        run = start(
            config,
            train_set.class_names,
            folder,
            batches=len(loader),
            weights=weights,
            processes=processes,
            data=data["train"],
        )
        if processes.is_main:
            add_start(folder, config, data, processes=processes, iteration=run.iteration)
            _tell_fit(run, train_set)
        _epochs(run, loader, train_set, val_set=val_set, stop=stop)
        if processes.is_main:
            draw_curve(folder)
            write_report(folder, val_set, image_size=config.image_size, device=run.device)
        processes.wait()
        return best_evaluation(folder)


def train_one_epoch(
    run: Run, loader: DataLoader[Batch], stepper: Stepper, *, stop: StopRequest, names: Sequence[str]
) -> dict[str, float]:
    """Train what is left of an epoch; returns the mean over its batches of each weighted loss term, and how it went.

    ``names``: of all images, for reports. Raises Interrupted, with the run as it was before the batch, NonFiniteLoss.
    """
    rest_frozen_norms(run.network.train())
    guard = Guard(run, stop, [names[index] for index in _order(run, loader)], loader.batch_size or 1)
    pace, title, quiet = Pace(), f"epoch {run.epoch + 1}/{run.config.epochs}", not run.processes.is_main
    for batch in watched(loader, pace, title=title, done=run.step, total=len(loader), quiet=quiet):
        guard.before()  # and not after the forward pass, which moves the statistics of batch normalisations
        weighted = stepper.loss(batch)
        guard.passes(weighted)
        stepper.backward(weighted, len(batch.images))
        run.tally.add_terms(weighted)
        if stepper.due():
            run.tally.add_norm(stepper.step())
        run.step += 1
    guard.end()
    figures = run.tally.means(len(loader), run.processes)
    rate = run.schedule.at(run.iteration - 1).learning_rates[0]
    speed = pace.images_per_second * run.processes.world_size
    return figures | {"learning_rate": rate, "images_per_second": speed, "waiting": pace.waiting}


def _epochs(
    run: Run, loader: DataLoader[Batch], train_set: CocoDataset, *, val_set: CocoDataset, stop: StopRequest
) -> None:
    stepper = Stepper(run, _criterion(run))
    names = [image.path.name for image in train_set.images]
    while not run.finished:
        started = time.monotonic()
        try:
            figures = train_one_epoch(run, loader, stepper, stop=stop, names=names)
            due = (run.epoch + 1) % run.config.evaluate_every == 0 or run.epoch + 1 == run.config.epochs
            if due and not run.processes.alone:  # a signal does not end their evaluation, who sends it may
                run.keep_position()
            evaluation = evaluate_ema(run, val_set, stop) if due else None
        except Interrupted as exc:
            run.keep_position()
            name = signal.Signals(exc.number).name
            where = f"in epoch {run.epoch + 1} after {run.step} of {len(loader)} batches"
            raise Stopped(f"stopped by {name} {where}; the same command goes on there", exc.number) from None
        run.close_epoch()
        run.keep({"seconds": time.monotonic() - started} | figures, evaluation)
    if run.epoch < run.config.epochs:
        _log.info("ended: epoch %d is the best, and %d have passed since", run.best_epoch, run.epoch - run.best_epoch)


def _tell_fit(run: Run, train_set: CocoDataset) -> None:
    """Log how well the anchors fit the boxes; warn where some cannot be learnt."""
    sizes = box_sizes(train_set, run.config.image_size)
    fit = measure(sizes, run.network.anchors.view(-1, 2).double().numpy(force=True), run.config.loss.anchor_threshold)
    level = logging.INFO if fit.recall >= ENOUGH_RECALL else logging.WARNING
    text = "anchors: best possible recall %.4f, %.2f anchors a box; yolov7-training anchors --suggest looks for others"
    _log.log(level, text, fit.recall, fit.anchors_per_box)


def _order(run: Run, loader: DataLoader[Batch]) -> list[int]:
    """Set dataset and sampler to what is left of the run's epoch; return the whole epoch's order in this process."""
    dataset: object = loader.dataset  # of items; its declared type is that of batches
    sampler = loader.sampler
    assert isinstance(dataset, TrainDataset)
    assert isinstance(sampler, EpochOrder)
    dataset.set_epoch(run.epoch)
    sampler.skip = 0
    order = list(sampler)
    sampler.skip = run.step * (loader.batch_size or 1)
    return order


def _loader(config: Config, train_set: CocoDataset, processes: Processes, *, pin_memory: bool) -> DataLoader[Batch]:
    batch_size, rest = divmod(config.batch_size, processes.world_size)
    if rest:
        raise ConfigError(f"batch_size {config.batch_size} cannot be shared by {processes.world_size} processes")
    dataset = TrainDataset(
        train_set,
        config.augmentation,
        image_size=config.image_size,
        seed=config.seed,
        cache_bytes=int(config.cache_gib * 2**30),
        disk=DiskCache(Path(config.disk_cache), int(config.disk_cache_gib * 2**30)) if config.disk_cache else None,
    )
    shard = Shard(processes.rank, processes.world_size)
    return train_loader(dataset, batch_size, workers=config.workers, shard=shard, pin_memory=pin_memory)


def _criterion(run: Run) -> Criterion:
    network = run.network
    return Criterion(
        run.config.loss,
        num_classes=network.num_classes,
        strides=network.strides,
        anchors_px=network.anchors,
        image_size=run.config.image_size,
        reduce_sum=run.processes.sum,
    )


def _check_sets(train_set: CocoDataset, val_set: CocoDataset) -> None:
    """Refuse what would only show after the first epoch, or never. Raises DatasetError."""
    if train_set.class_names != val_set.class_names:
        names = (", ".join(dataset.class_names) for dataset in (train_set, val_set))
        raise DatasetError("training and validation set differ in their classes: {} and {}".format(*names))
    for what, dataset in (("training", train_set), ("validation", val_set)):
        if all(image.crowd.all() for image in dataset.images):
            raise DatasetError(f"the {what} set has no objects")
