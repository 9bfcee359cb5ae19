"""Percentiles of times without keeping each of them: a run may last for months."""

import math
from collections import Counter, deque
from collections.abc import Iterable

# Bins of 2 % each: nobody reads an age more exactly.
_STEP = math.log(1.02)
_LEAST_S = 1e-4


class Ages:
    """Seconds. All of them are counted in bins of 2 %; the latest hundred are kept as they are."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._latest: deque[float] = deque(maxlen=100)

    def add(self, seconds: float) -> None:
        """One more. What is below a tenth of a millisecond counts as that."""
        self._latest.append(seconds)
        self._bins[round(math.log(max(seconds, _LEAST_S)) / _STEP)] += 1

    def latest(self, share: float) -> float | None:
        """The percentile, as a share in 0..1, of the latest hundred; None before the first."""
        return _at(sorted(self._latest), share)

    def all(self, share: float) -> float | None:
        """The same of the whole run, to within 1 %."""
        left = share * self._bins.total()
        for bin_, count in sorted(self._bins.items()):
            left -= count
            if left <= 0:
                return math.exp(bin_ * _STEP)
        return None


def _at(values: list[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def milliseconds(seconds: Iterable[float | None]) -> str:
    """`12 / 30 ms` for people; a dash for what there is none of."""
    return " / ".join("–" if value is None else f"{value * 1000:.0f}" for value in seconds) + " ms"
