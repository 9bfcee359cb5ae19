"""What an epoch adds up, on the device, read once at its end."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from training.distributed import Processes
from training.train.finite import TERMS


@dataclass(slots=True)
class Tally:
    """terms: (3,) float64, sums of the weighted terms. norms: (3,) float64, of gradients: sum, largest, how many."""

    terms: Tensor
    norms: Tensor

    @classmethod
    def empty(cls, device: torch.device) -> Self:
        """Nothing yet."""
        return cls(*torch.zeros(2, 3, dtype=torch.float64, device=device))

    def add_terms(self, weighted: Tensor) -> None:
        """Add a batch's terms (3,)."""
        self.terms += weighted.detach()

    def add_norm(self, norm: Tensor) -> None:
        """Add a step's norm (); one that is not finite belongs to a step that the scaler skips."""
        norm = norm.to(self.norms.device, torch.float64)
        finite = norm.isfinite()
        norm = norm.where(finite, 0)
        self.norms[0] += norm
        self.norms[1] = torch.maximum(self.norms[1], norm)
        self.norms[2] += finite

    def means(self, batches: int, processes: Processes) -> dict[str, float]:
        """The mean over ``batches`` of each term, over all processes; the mean and the largest norm."""
        terms = processes.sum(self.terms.clone()).tolist()
        total, largest, count = self.norms.tolist()
        means = {name: term / batches for name, term in zip(TERMS, terms, strict=True)}
        return means | {"gradient_norm": total / max(count, 1), "gradient_norm_max": largest}
