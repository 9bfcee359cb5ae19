"""Where the knee is: the largest rate that a service holds. Decides which rate to offer next; offers nothing itself."""

import math
from dataclasses import dataclass

from service.benchmark.figures import Figures

# Of the requests that were due, so many have to be answered 200.
LEAST_SHARE = 0.99
# A knee is told no more exactly than by so many parts: steps of some seconds do not tell them apart.
PRECISION = 1.05
FACTOR = 2.0
LEAST_RATE = 0.05


@dataclass(frozen=True, slots=True)
class Objective:
    """What it means to hold a rate: 99 of 100 answers come within `p99_ms`, and nobody is refused."""

    p99_ms: float

    def broken_by(self, figures: Figures) -> str | None:
        """Why a step did not hold, in one line; None where it did."""
        for status, count in figures.statuses.items():
            if status != "200":
                return f"{count} of {figures.sent} requests ended in {status}"
        if figures.share < LEAST_SHARE:
            return f"only {figures.share:.1%} of what was due was answered: {figures.dropped} requests found no room"
        if figures.latency_ms["p99"] > self.p99_ms:
            return f"p99 {figures.latency_ms['p99']:.0f} ms is above {self.p99_ms:.0f} ms"
        return None


class KneeSearch:
    """Doubles the rate while it holds (halves it while it never did), then halves the gap, within `steps` steps.

    start: the first rate, in requests a second.
    """

    def __init__(self, start: float, *, steps: int) -> None:
        self._rate = _rounded(start)
        self._left = steps
        self.held: float | None = None
        self.broken: float | None = None

    def next_rate(self) -> float | None:
        """The rate to offer; None where the search is over."""
        found = self.held and self.broken and self.broken / self.held <= PRECISION
        return None if found or self._left == 0 or self._rate < LEAST_RATE else self._rate

    def tell(self, *, held: bool) -> None:
        """What became of the rate that `next_rate` gave."""
        self._left -= 1
        if held:
            self.held = self._rate
        else:
            self.broken = self._rate
        self._rate = _rounded(self._following())

    def _following(self) -> float:
        if self.held is None:
            return self._rate / FACTOR
        if self.broken is None:
            return self._rate * FACTOR
        return math.sqrt(self.held * self.broken)


def _rounded(rate: float) -> float:
    """Three figures: nobody offers 78.0134 requests a second."""
    return float(f"{rate:.3g}")
