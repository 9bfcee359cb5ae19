"""Batches on their way to the loop: what is shown meanwhile, and how long the loop waited for them.

A bar where somebody watches; elsewhere a line a minute. Neither asks the device anything.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.data import Batch

_log = logging.getLogger(__name__)

_LINE_EVERY_S = 60.0


@dataclass(slots=True)
class Pace:
    """Time of the batches that were had."""

    images: int = 0
    waited_s: float = 0.0
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Of this process."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def waiting(self) -> float:
        """Share of the time in which the loop had no batch."""
        return self.waited_s / self.seconds if self.seconds else 0.0


def watched(
    batches: Iterable[Batch], pace: Pace, *, title: str, done: int, total: int, quiet: bool = False
) -> Iterator[Batch]:
    """Yield ``batches``, of which ``done`` of ``total`` were had before, and keep ``pace``."""
    console = Console(stderr=True)
    if quiet:
        yield from _timed(batches, pace, lambda: None)
        return
    if not console.is_terminal:
        yield from _timed(batches, pace, _lines(pace, title, done, total))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, completed=done, total=total)
        yield from _timed(batches, pace, lambda: bar.advance(task))


def _timed(batches: Iterable[Batch], pace: Pace, tick: Callable[[], None]) -> Iterator[Batch]:
    started = asked = time.monotonic()
    before = pace.seconds
    for batch in batches:
        pace.waited_s += time.monotonic() - asked
        yield batch
        pace.images += len(batch.images)
        asked = time.monotonic()
        pace.seconds = before + asked - started
        tick()


def _lines(pace: Pace, title: str, done: int, total: int) -> Callable[[], None]:
    count, last = done, time.monotonic()

    def tick() -> None:
        nonlocal count, last
        count += 1
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            rate, waiting = pace.images_per_second, 100 * pace.waiting
            _log.info("%s  batch %d/%d  %.1f images/s  waiting %.0f %%", title, count, total, rate, waiting)

    return tick
