"""The optimiser, its schedule and the moving average of the weights.

The schedule is plain arithmetic of the iteration: it holds no optimiser and no state, so a resumed run needs nothing
but the iteration. The loop is not known here: it steps when ``iteration % accumulate == 0``, the very first iteration
included, and updates the average after each step.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from training.config import Optimizer

_NetworkT = TypeVar("_NetworkT", bound=nn.Module)
_GROUPS = ("scales", "weights", "biases")
_BETA2 = 0.999


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Sort every parameter into three groups, in the order that the learning rates of ``Rates`` follow.

    "scales": BatchNorm weights and implicit vectors. "weights": convolution weights, which alone decay. "biases".
    """
    members: dict[str, list[nn.Parameter]] = {name: [] for name in _GROUPS}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = name == "weight" and isinstance(module, nn.Conv2d | nn.Linear)
            members["biases" if name == "bias" else "weights" if is_weight else "scales"].append(parameter)
    decay = {"weights": weight_decay}
    return [{"name": name, "params": members[name], "weight_decay": decay.get(name, 0.0)} for name in _GROUPS]


def build_optimizer(network: nn.Module, options: Optimizer, *, batch_size: int) -> torch.optim.Optimizer:
    """Build the optimiser over ``parameter_groups``; ``batch_size`` is that of all processes together."""
    groups = parameter_groups(network, scaled_weight_decay(options, batch_size))
    # Fused, a GPU skips a step whose scaled gradients overflowed by itself; otherwise every step asks the host.
    fused = next(network.parameters()).is_cuda
    if options.kind == "adamw":
        return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(options.momentum, _BETA2), fused=fused)
    return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum, nesterov=True, fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, rates: "Rates") -> None:
    """Give the optimiser what holds at an iteration."""
    for group, rate in zip(optimizer.param_groups, rates.learning_rates, strict=True):
        group["lr"] = rate
        if "momentum" in group:  # AdamW's betas stay, as in the reference
            group["momentum"] = rates.momentum


def limit_gradients(parameters: Iterable[nn.Parameter], clip_norm: float) -> Tensor:
    """Shorten the gradients to ``clip_norm`` together, where it is not 0; return the norm () that they had."""
    gradients = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in gradients if parameter.grad is not None])
    if clip_norm:
        nn.utils.clip_grads_with_norm_(gradients, clip_norm, norm)
    return norm


def accumulation(options: Optimizer, batch_size: int) -> int:
    """How many batches make one step once warm-up is over: as many as bring the nominal batch together."""
    return max(round(options.nominal_batch / batch_size), 1)


def scaled_weight_decay(options: Optimizer, batch_size: int) -> float:
    """The recipe's decay is stated for the nominal batch: a larger step decays more, as steps are fewer."""
    return options.weight_decay * batch_size * accumulation(options, batch_size) / options.nominal_batch


@dataclass(frozen=True, slots=True)
class Rates:
    """What holds at one iteration."""

    learning_rates: tuple[float, float, float]  # in the order of parameter_groups
    momentum: float
    accumulate: int  # step when iteration % accumulate == 0


class Schedule:
    """A cosine over the epochs from the learning rate to its final fraction, after a linear warm-up per iteration.

    During warm-up the biases come down from a higher rate, all else rises from 0, and accumulation grows from one batch
    to the nominal one.
    """

    def __init__(self, options: Optimizer, *, epochs: int, batches_per_epoch: int, batch_size: int) -> None:
        """``batch_size`` is that of all processes together."""
        self.options = options
        self.epochs = epochs
        self.batches_per_epoch = batches_per_epoch
        self.batch_size = batch_size
        self.warmup_iterations = max(round(options.warmup_epochs * batches_per_epoch), options.warmup_min_iterations)

    def factor(self, epoch: int) -> float:
        """Return the fraction of the learning rate in ``epoch``: 1 in the first, the final one just after the last."""
        return (1 - math.cos(math.pi * epoch / self.epochs)) / 2 * (self.options.final_factor - 1) + 1

    def at(self, iteration: int) -> Rates:
        """Return the rates of ``iteration``, counted from 0 over all epochs."""
        options = self.options
        rate = options.learning_rate * self.factor(iteration // self.batches_per_epoch)
        if iteration > self.warmup_iterations or not self.warmup_iterations:
            return Rates((rate, rate, rate), options.momentum, accumulation(options, self.batch_size))
        done = iteration / self.warmup_iterations
        rising = done * rate
        highest = options.warmup_bias_learning_rate if options.kind == "sgd" else 0.0
        falling = highest + done * (rate - highest)
        momentum = options.warmup_momentum + done * (options.momentum - options.warmup_momentum)
        accumulate = max(round(1 + done * (options.nominal_batch / self.batch_size - 1)), 1)
        return Rates((rising, rising, falling), momentum, accumulate)


class Ema(Generic[_NetworkT]):
    """Exponential moving average of a network's floating-point state, BatchNorm statistics included.

    It is what is evaluated and released. The decay grows with the number of updates, ``decay * (1 - exp(-updates /
    tau))``, so that the first weights are soon forgotten. Integer state is copied.
    """

    def __init__(self, network: _NetworkT, *, decay: float, tau: float) -> None:
        """Start from a copy of ``network`` (unwrapped: no DistributedDataParallel around it)."""
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.tau = tau
        self.updates = 0

    def decay_at(self, updates: int) -> float:
        """Return the share that the average keeps at its ``updates``-th update, counted from 1."""
        return self.decay * (1 - math.exp(-updates / self.tau))

    @torch.no_grad()
    def update(self, network: _NetworkT) -> None:
        """Move the average towards ``network``, once per optimiser step."""
        self.updates += 1
        change = 1 - self.decay_at(self.updates)
        current = network.state_dict()
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                averages.append(average)
                values.append(current[name])
            else:
                average.copy_(current[name])
        torch._foreach_lerp_(averages, values, change)  # a few kernels, not one a tensor

    @property
    def state(self) -> dict[str, Tensor]:
        """The averaged state, under the network's keys."""
        state: dict[str, Tensor] = self.network.state_dict()
        return state

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"network": self.state, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()`` of an earlier run."""
        self.network.load_state_dict(state["network"])
        self.updates = int(state["updates"])
