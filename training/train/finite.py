"""A loss that is not a number ends the run, with a report of what the batch was.

Looking at a loss makes the host wait for a GPU, so there it is done only now and then, for all batches since the last
look. On a CPU it is done at once; one process alone does it before the batch changes any weight.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import Config
from training.optim import Rates

TERMS = ("box", "objectness", "classification")
_LOOK_EVERY = {"cpu": 1}
_LOOK_EVERY_ELSEWHERE = 20
_NAMED = 5


class NonFiniteLoss(RuntimeError):  # the name says it
    """The loss became NaN or infinite; the message names the terms, the batch and the report."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The weighted terms of one batch, by its place in the epoch."""

    batch: int
    terms: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self.terms.items())


class FiniteCheck:
    """The losses since the last look, on their device."""

    def __init__(self, device: torch.device) -> None:
        self._every = _LOOK_EVERY.get(device.type, _LOOK_EVERY_ELSEWHERE)
        self._waiting: list[tuple[int, Tensor]] = []
        self.last: Seen | None = None  # the latest batch known to be finite

    def add(self, batch: int, terms: Tensor) -> None:
        """Take a batch's terms (3,)."""
        self._waiting.append((batch, terms))

    def due(self, batch: int) -> bool:
        """Whether it is time to look, before ``batch``: the same batch in every process."""
        return batch % self._every == 0

    def look(self) -> Seen | None:
        """Return the first batch whose loss is not finite, if any. Waits for the device."""
        if not self._waiting:
            return None
        rows = torch.stack([terms for _, terms in self._waiting]).tolist()
        seen = [Seen(b, dict(zip(TERMS, row, strict=True))) for (b, _), row in zip(self._waiting, rows, strict=True)]
        self._waiting.clear()
        for batch in seen:
            if not all(abs(value) < float("inf") for value in batch.terms.values()):  # NaN compares as false
                return batch
            self.last = batch
        return None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where in a run a loss was not finite."""

    config: Config
    epoch: int  # from 0
    rank: int
    rates: Rates
    images: list[str]  # of the batch, each the first of its mosaic
    network: nn.Module


def refuse(folder: Path, found: Seen, last: Seen | None, around: Circumstances) -> NonFiniteLoss:
    """Write ``nonfinite.json`` (a process that is not the first adds its rank) and return the error to raise."""
    path = folder / ("nonfinite.json" if around.rank == 0 else f"nonfinite-{around.rank}.json")
    path.write_text(json.dumps(_report(found, last, around), indent=2))
    message = f"epoch {around.epoch + 1}, batch {found.batch}: the loss is not finite ({found})"
    return NonFiniteLoss(f"{message}; last finite: {last or 'none'}; the batch's images and more: {path}")


def _report(found: Seen, last: Seen | None, around: Circumstances) -> dict[str, Any]:
    spoilt = [name for name, value in around.network.state_dict().items() if not bool(value.isfinite().all())]
    return {
        "epoch": around.epoch + 1,
        "batch": found.batch,
        # As text, because JSON has no NaN.
        "terms": {name: str(value) for name, value in found.terms.items()},
        "last finite": {"batch": last.batch, "terms": last.terms} if last else None,
        "images": around.images,
        "images made by": {"seed": around.config.seed, "epoch": around.epoch},
        "weights not finite": {"count": len(spoilt), "first": spoilt[:_NAMED]},
        "learning rates": list(around.rates.learning_rates),
        "precision": around.config.precision,
        "clip_norm": around.config.optimizer.clip_norm,
        "hint": "weights that are finite: the batch is at fault, look at its images and boxes; weights that are not: "
        "an earlier step was too long, try optimizer.clip_norm, a lower learning rate or precision bf16. A "
        "last.pt in the folder is from before; a changed recipe needs a new folder, --weights takes best.pt along",
    }
