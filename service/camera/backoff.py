"""How long to wait before the next try: twice as long each time, up to a limit, and half of it left to chance.

Chance keeps a hundred cameras that lost the same switch from coming back in the same instant.
"""

import random
from collections.abc import Callable


class Backoff:
    """`draw` gives numbers in 0..1."""

    def __init__(
        self, *, first_s: float = 0.5, longest_s: float = 30.0, draw: Callable[[], float] = random.random
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._draw = draw
        self._failures = 0

    def failed(self) -> float:
        """The pause after one more failure: between half and the whole of what it has grown to."""
        doublings = min(self._failures, 30)
        self._failures += 1
        pause_s: float = min(self._longest_s, self._first_s * 2.0**doublings)
        return pause_s * (0.5 + 0.5 * self._draw())

    def worked(self) -> None:
        """The next failure is a first one again."""
        self._failures = 0
