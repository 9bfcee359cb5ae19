"""Optimisation profiles: for which shapes a plan is made, and for which it is fastest.

TensorRT chooses kernels for one shape of each profile and accepts the range around it. Each input shape of a model has
its own, because a network that is fast at 640x640 is not so at 384x640; and each has one for every step of batch sizes,
because one image alone wants other kernels than eight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from training.export.session import ExportError

Dims = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Profile:
    """Batches of ``least`` to ``most`` images of one shape (H, W), fastest at ``most``."""

    shape_hw: tuple[int, int]
    least: int
    most: int

    @property
    def dims(self) -> tuple[Dims, Dims, Dims]:
        """The smallest, the best and the largest input (B, H, W, 3)."""
        smallest, largest = ((batch, *self.shape_hw, 3) for batch in (self.least, self.most))
        return smallest, largest, largest


def profiles_for(shapes_hw: Sequence[tuple[int, int]], batches: Sequence[int]) -> tuple[Profile, ...]:
    """Return a profile for each shape and each step of ``batches``; together they take 1 to the last of them.

    Raises ExportError for steps that do not rise from 1 or more.
    """
    if not batches or batches[0] < 1 or any(low >= high for low, high in pairwise(batches)):
        raise ExportError(f"batch sizes must rise from at least 1, not {' '.join(map(str, batches)) or 'none'}")
    starts = [1, *(batch + 1 for batch in batches[:-1])]
    return tuple(
        Profile(shape_hw, least, most) for shape_hw in shapes_hw for least, most in zip(starts, batches, strict=True)
    )
