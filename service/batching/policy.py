"""What to run next, and what to refuse: plain functions of the time and the queue, so that a test moves the clock.

The policy acts on nothing. It reads the queue and says which entries form the next batch, whether another batch should
start beside those in flight, which entries nobody can be answered for any more, and when a newcomer would be answered.
What it knows of the engine it has learnt from `observe`.

- An idle engine never waits for a batch to fill.
- A batch is the smallest that gives nearly the best throughput: on a GPU that is as many as wait, on a CPU one image.
- Another batch starts beside others only if that was seen to raise the throughput, or was not tried of late.
- A request that cannot be answered in time is refused at once. An idle engine refuses nothing, so that an estimate
  that is wrong is always put right.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic

from service.batching.durations import Durations
from service.batching.queue import Entry, Group, Payload, Queue, Result

# Of the best throughput, what a smaller batch must reach to be preferred for its lower latency.
NEARLY = 0.95
# By how much another batch in flight must raise the throughput: less is noise, and what waits here can still be joined
# into larger batches, while what waits in the engine's own queue cannot.
PROFIT = 1.02
# The same for what must not become older by it: less than this, and it mostly waits in the engine.
WORTH = 1.1
# Predictions are means; whoever is accepted is to be answered in time nearly always.
MARGIN = 1.15


@dataclass(frozen=True, slots=True)
class Decision(Generic[Group, Payload, Result]):
    """`batch` is of one group, oldest first, and empty when there is nothing to run now."""

    batch: tuple[Entry[Group, Payload, Result], ...]
    cancelled: tuple[Entry[Group, Payload, Result], ...]
    expired: tuple[Entry[Group, Payload, Result], ...]


@dataclass(frozen=True, slots=True)
class Ahead:
    """Images that are on their way to the queue, and the time that each takes of those who prepare them, together."""

    images: int = 0
    image_s: float = 0.0


NOBODY = Ahead()


class Adaptive(Generic[Group, Payload, Result]):
    """`most_running`: batches that may be in flight at most; `largest`: images that a batch of a group may hold."""

    def __init__(self, *, most_running: int, largest: Callable[[Group], int]) -> None:
        self._most_running = most_running
        self._largest = largest
        self._durations: Durations[Group] = Durations()
        self._recent: Group | None = None

    def decide(
        self, now: float, queue: Queue[Group, Payload, Result], *, running: Mapping[Group, int]
    ) -> Decision[Group, Payload, Result]:
        """What to run at `now`, on the clock of the entries' deadlines, beside the batches of each group in flight."""
        cancelled: list[Entry[Group, Payload, Result]] = []
        expired: list[Entry[Group, Payload, Result]] = []
        waiting: list[Entry[Group, Payload, Result]] = []
        for entry in queue:
            kind = cancelled if entry.future.done() else expired if entry.deadline <= now else waiting
            kind.append(entry)
        load = sum(running.values()) + 1
        if not waiting or load > self._most_running:
            return Decision((), tuple(cancelled), tuple(expired))
        doomed, able = self._sort_out(now, waiting, load=load)
        # The oldest entry's group comes first; one that is held back, perhaps because it hangs, holds no other back.
        for group in dict.fromkeys(entry.group for entry in able):
            batch = [entry for entry in able if entry.group == group][: self._largest(group)]
            if self._profits(now, group, len(batch), running):
                size = self._size(now, batch, load=load)
                return Decision(tuple(batch[:size]), tuple(cancelled), (*expired, *doomed))
        return Decision((), tuple(cancelled), tuple(expired))

    def observe(self, group: Group, n: int, *, load: int, seconds: float, now: float) -> None:
        """A batch of `n` images ended at `now`; it began with `load` batches in flight, itself included."""
        self._durations.observe(group, n, load=load, seconds=seconds, now=now)
        self._recent = group

    def answer_s(self, queue: Queue[Group, Payload, Result], *, running: int, ahead: Ahead = NOBODY) -> float:
        """Seconds until an image that came now would be answered, behind those `ahead` that are yet to be queued.

        Nothing ahead of it means no wait, whatever was learnt.
        """
        if not running and not ahead.images and not len(queue):
            return 0.0
        # Of two stages that work at the same time the slower one sets the pace.
        ahead_s = ahead.images * max(self._image_s(self._recent), ahead.image_s)
        ahead_s += sum(count * self._image_s(group) for group, count in queue.counts.items())
        # Those in flight are half done on average, and its own batch takes as long as one of them.
        own_s = (self._durations.batch_s(self._recent) if self._recent is not None else None) or 0.0
        return MARGIN * (ahead_s + 1.5 * own_s)

    def next_size(self, group: Group, n: int) -> int:
        """How many images it may want after a batch of `n`: twice as many, so that it grows where that is better."""
        return min(2 * n, self._largest(group))

    def has_room(self, now: float, *, running: int) -> bool:
        """Whether an image of its own batch, beside those in flight, would be worked on at once instead of lying ready.

        As far as that is known; what is unknown, or was not tried of late, is tried one step at a time.
        """
        # The last place is for what lies ready while the others are worked on.
        if running >= max(self._most_running - 1, 1):
            return False
        if not running or self._recent is None:
            return not running
        with_one_more = self._durations.expected_s(self._recent, 1, load=running + 1, now=now)
        as_it_is = self._durations.recall_s(self._recent, 1, load=running)
        if with_one_more is None or as_it_is is None:
            return as_it_is is not None
        return (running + 1) / with_one_more >= WORTH * running / as_it_is

    def _image_s(self, group: Group | None) -> float:
        learnt = None if group is None else self._durations.image_s(group)
        if learnt is None and self._recent is not None:
            learnt = self._durations.image_s(self._recent)
        return learnt or 0.0

    def _sort_out(
        self, now: float, waiting: list[Entry[Group, Payload, Result]], *, load: int
    ) -> tuple[list[Entry[Group, Payload, Result]], list[Entry[Group, Payload, Result]]]:
        """Those whose answer would come too late even if they ran now, and the others; if it is all, they run."""
        took_s: dict[Group, float] = {}
        doomed: list[Entry[Group, Payload, Result]] = []
        able: list[Entry[Group, Payload, Result]] = []
        for entry in waiting:
            if entry.group not in took_s:
                took_s[entry.group] = self._durations.expected_s(entry.group, 1, load=load, now=now) or 0.0
            (doomed if now + took_s[entry.group] > entry.deadline else able).append(entry)
        return (doomed, able) if able else ([], waiting)

    def _profits(self, now: float, group: Group, n: int, running: Mapping[Group, int]) -> bool:
        """Whether one more batch beside those in flight raises the throughput, as far as that is known.

        What is unknown is tried, one step above what is known at a time.
        """
        load = sum(running.values())
        # Where batches cannot grow nothing is gained by waiting, and the engine says itself how many it takes.
        if not load or self._largest(group) == 1:
            return True
        with_one_more = self._durations.recall_s(group, n, load=load + 1)
        as_it_is = self._durations.recall_s(group, n, load=load)
        if with_one_more is None:
            # A group of which nothing is in flight is not held back by what others do.
            return as_it_is is not None or not running.get(group)
        if as_it_is is None or (load + 1) / with_one_more >= PROFIT * load / as_it_is:
            return True
        # It did not help; but that was long ago, and what it is compared with is known now.
        stale = not self._durations.is_fresh(group, load=load + 1, now=now)
        return stale and self._durations.is_fresh(group, load=load, now=now)

    def _size(self, now: float, batch: list[Entry[Group, Payload, Result]], *, load: int) -> int:
        """How many of the entries to run together."""
        group = batch[0].group
        rates: list[float] = []
        deadline = math.inf
        for n, entry in enumerate(batch, 1):
            deadline = min(deadline, entry.deadline)
            seconds = self._durations.guess_s(group, n, load=load, now=now)
            if seconds is None:
                return len(batch)
            # One image runs in any case; more only if none of them is late by it.
            if n > 1 and now + seconds > deadline:
                break
            rates.append(n / seconds)
        best = max(rates)
        return next(n for n, rate in enumerate(rates, 1) if rate >= NEARLY * best)
