"""Whether to try again, and when: decided here, done by whoever does the I/O.

Exponential back-off with full jitter, at least as long as the service says, and never beyond the deadline: where the
pause would pass it, the error is told at once.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.client.errors import ClientError, ConnectionFailed, ServiceUnavailable, TimedOut

# A longer deadline is as good as none, and more than the clocks of threads and sockets take.
LONGEST_S = 1e6


@dataclass(frozen=True, slots=True)
class Retries:
    """`count` tries follow the first one at most. `draw` gives numbers in 0..1, `clock` seconds that only rise."""

    count: int = 3
    first_pause_s: float = 0.2
    longest_pause_s: float = 5.0
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random

    def within(self, timeout_s: float) -> "Attempts":
        """The tries of one request that starts now."""
        return Attempts(self, self.clock() + timeout_s)


class Attempts:
    """The tries of one request, all before `deadline`."""

    def __init__(self, retries: Retries, deadline: float) -> None:
        self._retries = retries
        self._deadline = deadline
        self._failures = 0

    def left_s(self) -> float:
        """What the next try may take, a week and a half at most. Raises TimedOut where that is nothing."""
        left_s = self._deadline - self._retries.clock()
        if left_s <= 0:
            raise TimedOut("the deadline passed before an answer was there")
        return min(left_s, LONGEST_S)

    def pause_s(self, error: ClientError) -> float:
        """How long to wait after a try that failed so. Raises the error where there is no further try."""
        self._failures += 1
        passing = isinstance(error, ServiceUnavailable | ConnectionFailed)
        if not passing or self._failures > self._retries.count:
            raise error
        doublings = min(self._failures - 1, 30)
        longest_s = min(self._retries.longest_pause_s, self._retries.first_pause_s * 2.0**doublings)
        jitter_s = self._retries.draw() * longest_s
        # On top of what the service says, so that those it sent away together do not come back together.
        told_s = error.retry_after_s or 0.0 if isinstance(error, ServiceUnavailable) else 0.0
        pause_s, left_s = told_s + jitter_s, self._deadline - self._retries.clock()
        if left_s <= 0 and isinstance(error, ConnectionFailed):
            # By now it no longer matters whether the connection or the deadline gave up a hair sooner.
            raise TimedOut(f"the deadline passed before there was a connection: {error}") from error
        if pause_s >= left_s:
            raise error
        return pause_s
