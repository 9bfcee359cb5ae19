"""The ceiling of whatever decodes on this machine: decode and letterbox alone, in a plain loop over two threads."""

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rivals.pipeline import prepare

THREADS = 2


@dataclass(frozen=True, slots=True)
class DecodeCeiling:
    """Photos and the input shapes to letterbox them into."""

    jpegs: Sequence[bytes]
    shapes_hw: Sequence[tuple[int, int]]

    def per_second(self, seconds: float) -> float:
        """Images prepared per second, both threads together."""
        turn = itertools.cycle(self.jpegs)
        started = time.perf_counter()

        def work(_: int) -> int:
            done = 0
            while time.perf_counter() < started + seconds:
                prepare(next(turn), self.shapes_hw)
                done += 1
            return done

        with ThreadPoolExecutor(THREADS) as pool:
            return sum(pool.map(work, range(THREADS))) / (time.perf_counter() - started)
