"""How long batches take, learnt while they run: seconds ≈ base + per_image × n, for each group and load.

The load is the number of batches in flight, since on a busy engine each takes longer. The fit forgets: what was seen
some twenty batches ago hardly counts, and what was not seen for `STALE_S` is not trusted. Knows neither queue nor
clock.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

GROUP = TypeVar("GROUP", bound=Hashable)

DECAY = 0.95
STALE_S = 10.0
# Below this variance of the batch size a slope would be noise.
LEAST_VARIANCE = 0.05
# A clock may stand still while a batch runs; no engine is infinitely fast.
LEAST_S = 1e-6


@dataclass(slots=True)
class _Fit:
    """Decayed sums over batches of n images that took s seconds."""

    weight: float = 0.0
    n: float = 0.0
    s: float = 0.0
    nn: float = 0.0
    ns: float = 0.0
    seen_at: float = 0.0

    def add(self, n: int, seconds: float, now: float) -> None:
        self.weight = self.weight * DECAY + 1
        self.n = self.n * DECAY + n
        self.s = self.s * DECAY + seconds
        self.nn = self.nn * DECAY + n * n
        self.ns = self.ns * DECAY + n * seconds
        self.seen_at = now

    def expected_s(self, n: int) -> float:
        mean_n, mean_s = self.n / self.weight, self.s / self.weight
        variance = self.nn / self.weight - mean_n * mean_n
        slope = 0.0
        if variance > LEAST_VARIANCE:
            slope = max((self.ns / self.weight - mean_n * mean_s) / variance, 0.0)
        # No line has a negative base: that would promise small batches in less than no time.
        slope = min(slope, mean_s / mean_n)
        return mean_s + slope * (n - mean_n)


class Durations(Generic[GROUP]):
    """One fit for each group and load. What has never been seen is unknown, which is not the same as slow."""

    def __init__(self) -> None:
        self._fits: dict[GROUP, dict[int, _Fit]] = {}

    def observe(self, group: GROUP, n: int, *, load: int, seconds: float, now: float) -> None:
        """A batch of `n` images that began with `load` batches in flight, itself included, took so many seconds."""
        fit = self._fits.setdefault(group, {}).setdefault(load, _Fit())
        fit.add(n, max(seconds, LEAST_S), now)

    def expected_s(self, group: GROUP, n: int, *, load: int, now: float) -> float | None:
        """Seconds that a batch of `n` will take at this load; None if that is unknown or was learnt too long ago.

        From one batch size alone no cost per image can be told: then every size is expected to take as long, which
        makes the policy try larger ones and learn.
        """
        fit = self._fits.get(group, {}).get(load)
        return None if fit is None or now - fit.seen_at > STALE_S else fit.expected_s(n)

    def image_s(self, group: GROUP) -> float | None:
        """Engine seconds per image at the latest load that was seen, with all batches in flight sharing the work."""
        fits = self._fits.get(group)
        if not fits:
            return None
        load, fit = max(fits.items(), key=lambda item: item[1].seen_at)
        return fit.s / fit.n / load
