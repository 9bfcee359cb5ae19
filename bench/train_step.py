"""How a training step's time divides: forward, assigner + loss, backward, optimiser, average.

.venv/bin/python bench/train_step.py [--variant tiny] [--size 416] [--batch 16]
"""

import argparse
import itertools
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

from training.config import Config, Optimizer
from training.losses import Criterion
from training.nets import VARIANTS, build_network
from training.optim import Ema, build_optimizer

_STAGES = ("forward", "assigner + loss", "backward", "optimiser", "average")


def main() -> None:
    """Time the stages of real steps on random images with as many objects as mosaics hold, and print their shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="tiny")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--objects", type=int, default=7, help="objects per image")
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    step = _Step(arguments)
    times = [step.run() for _ in range(arguments.steps)][2:]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    setting = f"{arguments.variant} {arguments.size} batch {arguments.batch}"
    title = f"{setting}, bf16 channels-last, {torch.get_num_threads()} threads"
    table = Table("stage", "median ms", "share", title=title)
    for name, seconds in zip(_STAGES, medians, strict=True):
        table.add_row(name, f"{1e3 * seconds:.1f}", f"{100 * seconds / sum(medians):.1f} %")
    table.add_row("images/s", f"{arguments.batch / sum(medians):.1f}", "")
    Console().print(table)


class _Step:
    """One network and all that a step touches; the loss's own backward is timed with the loss."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.network = build_network(VARIANTS[arguments.variant], num_classes=5).train()
        self.network.to(memory_format=torch.channels_last)
        size, batch, count = arguments.size, arguments.batch, arguments.batch * arguments.objects
        self.criterion = Criterion(
            Config().loss,
            num_classes=5,
            strides=self.network.strides,
            anchors_px=self.network.anchors,
            image_size=size,
        )
        options = Optimizer()
        self.optimizer = build_optimizer(self.network, options, batch_size=batch)
        self.ema = Ema(self.network, decay=options.ema_decay, tau=options.ema_tau)
        self.images = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
        owners = torch.randint(0, batch, (count, 1)).sort(0).values.float()
        classes = torch.randint(0, 5, (count, 1)).float()
        self.targets = torch.cat(
            [owners, classes, torch.rand(count, 2) * 0.8 + 0.1, torch.rand(count, 2) * 0.4 + 0.05], 1
        )

    def run(self) -> list[float]:
        """Seconds of each stage."""
        marks = [time.perf_counter()]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = self.network(self.images)
        marks.append(time.perf_counter())
        leaves = [output.detach().requires_grad_() for output in outputs]
        terms = self.criterion(leaves, self.targets, self.images.shape[2:])
        torch.stack([self.criterion.weights[name] * term for name, term in terms.items()]).sum().backward()
        marks.append(time.perf_counter())
        torch.autograd.backward(outputs, [leaf.grad for leaf in leaves])
        marks.append(time.perf_counter())
        self.optimizer.step()
        self.optimizer.zero_grad()
        marks.append(time.perf_counter())
        self.ema.update(self.network)
        marks.append(time.perf_counter())
        return [later - earlier for earlier, later in itertools.pairwise(marks)]


if __name__ == "__main__":
    main()
