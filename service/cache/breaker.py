"""When to leave a server alone that does not answer, and when to try it again: plain functions of the time.

Closed, everything may be tried. After a few failures in a row it opens: nothing is tried for a while, then one probe at
a time. A probe that fails makes the while twice as long, one that succeeds closes the breaker.

What is under way at the same time fails for the same reason, so it counts as one failure: a hiccup under load, or the
first connections made all at once, do not open it.
"""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Attempt:
    """One thing that was tried, after so many failures in a row.

    The first judgement counts: what was late and then fails has failed once.
    """

    after_failures: int
    is_probe: bool
    judged: bool = False


class Breaker:
    """Opens after `failures` in a row, for `shortest_s` at first, `longest_s` at most. `now` is always in seconds."""

    def __init__(self, *, failures: int = 3, shortest_s: float = 0.5, longest_s: float = 5.0) -> None:
        self._tolerated = failures
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._failures = 0
        self._open_s = 0.0
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Nothing but a probe may be tried."""
        return self._open_s > 0

    def attempt(self, now: float) -> Attempt | None:
        """Leave to try once, or none. Whoever is given one tells in the end how it went."""
        if not self.is_open:
            return Attempt(self._failures, is_probe=False)
        if self._probing or now < self._probe_at:
            return None
        self._probing = True
        return Attempt(self._failures, is_probe=True)

    def succeeded(self, attempt: Attempt) -> bool:
        """Says whether this closed the breaker."""
        if not self._judges(attempt):
            return False
        closes = self.is_open
        self._failures, self._open_s, self._probing = 0, 0.0, False
        return closes

    def failed(self, attempt: Attempt, now: float) -> bool:
        """Says whether this opened the breaker, which a probe does not: it was open."""
        if not self._judges(attempt) or attempt.after_failures != self._failures:
            return False
        self._failures += 1
        if not attempt.is_probe and self._failures < self._tolerated:
            return False
        self._open_s = min(max(2 * self._open_s, self._shortest_s), self._longest_s)
        self._probe_at = now + self._open_s
        self._probing = False
        return not attempt.is_probe

    def _judges(self, attempt: Attempt) -> bool:
        """Once open, only the probe counts: what was tried before says nothing new."""
        counts = not attempt.judged and attempt.is_probe == self.is_open
        attempt.judged = True
        return counts
