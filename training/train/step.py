"""One optimiser step: forward, criterion, backward, gradients limited, weights moved, the average after them.

Precision, compilation and the other processes wrap the network here; the network knows of none of them. Nothing in a
step waits for the device.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.data import Batch
from training.data.multiscale import draw_side, rescaled
from training.losses import Criterion
from training.optim import limit_gradients, set_rates
from training.train.finite import TERMS
from training.train.run import Run

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(slots=True)
class Stepper:
    """What moves a run's weights by one batch."""

    run: Run
    criterion: Criterion
    model: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.model = wrapped(self.run)

    def loss(self, batch: Batch) -> Tensor:
        """The weighted terms (3,) of a batch, in the order of TERMS; with several processes, this one's share."""
        config, device = self.run.config, self.run.device
        images = batch.images.to(device, memory_format=torch.channels_last, non_blocking=True).float().div_(255)
        if config.multi_scale:
            stride = max(self.run.network.strides[-1], 32)
            images = rescaled(
                images, draw_side(config.seed, self.run.iteration, image_size=config.image_size, stride=stride)
            )
        with torch.autocast(device.type, dtype=_DTYPES[config.precision], enabled=config.precision != "fp32"):
            outputs = self.model(images)
        terms = self.criterion(outputs, batch.targets, (images.shape[2], images.shape[3]))
        return torch.stack([self.criterion.weights[name] * terms[name] for name in TERMS])

    def backward(self, weighted: Tensor, images: int) -> None:
        """Add the gradient of the loss summed over the images of all processes; ``images`` are this one's.

        DistributedDataParallel divides by the number of processes, and the shares of all add up to the mean over the
        whole batch: hence the number twice. It averages what was gathered before too, so that gradients which wait for
        a step are the same everywhere.
        """
        loss = weighted.sum() * (images * self.run.processes.world_size**2)
        torch.autograd.backward(self.run.scaler.scale(loss))

    def due(self) -> bool:
        """Whether enough batches have come together for a step. The run's very first batch makes one alone."""
        iteration = self.run.iteration
        return iteration % self.run.schedule.at(iteration).accumulate == 0

    def step(self) -> Tensor:
        """Move the weights, then their average; return the norm () of the gradients before they were limited."""
        run = self.run
        set_rates(run.optimizer, run.schedule.at(run.iteration))
        if run.scaler.is_enabled():
            run.scaler.unscale_(run.optimizer)
        norm = limit_gradients(run.network.parameters(), run.config.optimizer.clip_norm)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.optimizer.zero_grad()
        run.ema.update(run.network)
        return norm.detach()


def wrapped(run: Run) -> nn.Module:
    """The network as the processes run it: averaging gradients over them, and compiled if the recipe says so."""
    model: nn.Module = run.network
    if not run.processes.alone:
        # It says so of tensors with sides of 1, whose strides mean nothing.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        # Statistics of SyncBN are the same everywhere; those of a CPU's batch normalisations follow rank 0.
        model = DistributedDataParallel(model, [run.device] if run.device.type == "cuda" else None)
    if run.config.compile:
        compiled: Any = torch.compile(model)
        return compiled  # type: ignore[no-any-return]
    return model
