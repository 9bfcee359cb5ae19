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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from service.batching.durations import Durations
from service.batching.queue import Entry, Group, Payload, Queue, Result

# Of the best throughput, what a smaller batch must reach to be preferred for its lower latency.
NEARLY = 0.95
# By how much another batch in flight must raise the throughput: less is noise, and what waits here can still be joined
# into larger batches, while what waits in the engine's own queue cannot.
PROFIT = 1.02
# The same where batches cannot grow, so that nothing is gained by waiting: only real harm holds one back.
HARMLESS = 0.95
# Predictions are means; whoever is accepted is to be answered in time nearly always.
MARGIN = 1.15


@dataclass(frozen=True, slots=True)
class Decision(Generic[Group, Payload, Result]):
    """`batch` is of one group, oldest first, and empty when there is nothing to run now."""

    batch: tuple[Entry[Group, Payload, Result], ...]
    cancelled: tuple[Entry[Group, Payload, Result], ...]
    expired: tuple[Entry[Group, Payload, Result], ...]


class Adaptive(Generic[Group, Payload, Result]):
    """`most_running`: batches that may be in flight at most; `largest`: images that a batch of a group may hold."""

    def __init__(self, *, most_running: int, largest: Callable[[Group], int]) -> None:
        self._most_running = most_running
        self._largest = largest
        self._durations: Durations[Group] = Durations()
        self._recent: Group | None = None

    def decide(
        self, now: float, queue: Queue[Group, Payload, Result], *, running: int
    ) -> Decision[Group, Payload, Result]:
        """What to run at `now`, on the clock of the entries' deadlines, beside `running` batches in flight."""
        cancelled = tuple(entry for entry in queue if entry.future.done())
        expired = tuple(entry for entry in queue if entry.deadline <= now and not entry.future.done())
        waiting = [entry for entry in queue if entry.deadline > now and not entry.future.done()]
        if not waiting or running >= self._most_running:
            return Decision((), cancelled, expired)
        doomed = self._doomed(now, waiting, load=running + 1)
        group = next(entry for entry in waiting if entry not in doomed).group
        batch = [entry for entry in waiting if entry.group == group and entry not in doomed][: self._largest(group)]
        if not self._profits(now, group, len(batch), running):
            return Decision((), cancelled, expired)
        size = self._size(now, batch, load=running + 1)
        return Decision(tuple(batch[:size]), cancelled, (*expired, *doomed))

    def observe(self, group: Group, n: int, *, load: int, seconds: float, now: float) -> None:
        """A batch of `n` images ended at `now`; it began with `load` batches in flight, itself included."""
        self._durations.observe(group, n, load=load, seconds=seconds, now=now)
        self._recent = group

    def answer_s(self, now: float, queue: Queue[Group, Payload, Result], *, running: int, preparing: int) -> float:
        """Seconds until an image that came now would be answered, behind `preparing` ones that are yet to be queued.

        Nothing ahead of it means no wait, whatever was learnt.
        """
        if not running and not preparing and not len(queue):
            return 0.0
        recent_s = self._image_s(self._recent)
        ahead_s = preparing * recent_s + sum(self._image_s(entry.group) for entry in queue)
        # Those in flight are half done on average, and its own batch takes as long as one of them.
        own_s = recent_s * max(running, 1)
        return MARGIN * (ahead_s + 1.5 * own_s)

    def _image_s(self, group: Group | None) -> float:
        learnt = None if group is None else self._durations.image_s(group)
        if learnt is None and self._recent is not None:
            learnt = self._durations.image_s(self._recent)
        return learnt or 0.0

    def _doomed(
        self, now: float, waiting: list[Entry[Group, Payload, Result]], *, load: int
    ) -> set[Entry[Group, Payload, Result]]:
        """Entries whose answer would come too late even if they ran now; unless that holds for all, which run then."""
        took_s = {
            group: self._durations.expected_s(group, 1, load=load, now=now) or 0.0
            for group in {entry.group for entry in waiting}
        }
        doomed = {entry for entry in waiting if now + took_s[entry.group] > entry.deadline}
        return doomed if len(doomed) < len(waiting) else set()

    def _profits(self, now: float, group: Group, n: int, running: int) -> bool:
        """Whether one more batch beside those in flight raises the throughput, as far as that is known."""
        if not running:
            return True
        with_one_more = self._durations.expected_s(group, n, load=running + 1, now=now)
        as_it_is = self._durations.expected_s(group, n, load=running, now=now)
        if with_one_more is None or as_it_is is None:
            return True
        least = PROFIT if self._largest(group) > 1 else HARMLESS
        return (running + 1) / with_one_more >= least * running / as_it_is

    def _size(self, now: float, batch: list[Entry[Group, Payload, Result]], *, load: int) -> int:
        """How many of the entries to run together."""
        group, most = batch[0].group, len(batch)
        expected = [self._durations.expected_s(group, n, load=load, now=now) for n in range(1, most + 1)]
        known = [seconds for seconds in expected if seconds is not None]
        if not known:
            return most
        in_time = [n for n, seconds in enumerate(known, 1) if now + seconds <= min(e.deadline for e in batch[:n])]
        sizes = in_time or [1]
        best = max(n / known[n - 1] for n in sizes)
        return next(n for n in sizes if n / known[n - 1] >= NEARLY * best)
