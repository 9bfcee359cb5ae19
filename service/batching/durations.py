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
        self._latest: dict[GROUP, tuple[int, _Fit]] = {}

    def observe(self, group: GROUP, n: int, *, load: int, seconds: float, now: float) -> None:
        """A batch of `n` images that began with `load` batches in flight, itself included, took so many seconds."""
        fit = self._fits.setdefault(group, {}).setdefault(load, _Fit())
        fit.add(n, max(seconds, LEAST_S), now)
        self._latest[group] = load, fit

    def recall_s(self, group: GROUP, n: int, *, load: int) -> float | None:
        """Seconds that a batch of `n` took at this load when it was last seen; None if it never was.

        From one batch size alone no cost per image can be told: then every size is expected to take as long, which
        makes the policy try larger ones and learn.
        """
        fit = self._fits.get(group, {}).get(load)
        return None if fit is None else fit.expected_s(n)

    def is_fresh(self, group: GROUP, *, load: int, now: float) -> bool:
        """Whether this load was seen of late."""
        fit = self._fits.get(group, {}).get(load)
        return fit is not None and now - fit.seen_at <= STALE_S

    def expected_s(self, group: GROUP, n: int, *, load: int, now: float) -> float | None:
        """As `recall_s`, but None as well if it was learnt too long ago."""
        return self.recall_s(group, n, load=load) if self.is_fresh(group, load=load, now=now) else None

    def guess_s(self, group: GROUP, n: int, *, load: int, now: float) -> float | None:
        """As `expected_s`; an unknown load is guessed from the nearest one as if all shared one core. None: no idea."""
        known = self.expected_s(group, n, load=load, now=now)
        fits = self._fits.get(group)
        if known is not None or not fits:
            return known
        nearest = min(fits, key=lambda other: abs(other - load))
        return fits[nearest].expected_s(n) * max(1.0, load / nearest)

    def image_s(self, group: GROUP) -> float | None:
        """Engine seconds per image at the latest load that was seen, with all batches in flight sharing the work."""
        latest = self._latest.get(group)
        return None if latest is None else latest[1].s / latest[1].n / latest[0]

    def batch_s(self, group: GROUP) -> float | None:
        """Seconds that a batch takes at the latest load that was seen."""
        latest = self._latest.get(group)
        return None if latest is None else latest[1].s / latest[1].weight
