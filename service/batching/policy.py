"""What to run next: a plain function of the time and the queue, so that a test can move the clock by hand.

The policy acts on nothing. It reads the queue and says which entries form the next batch and which ones nobody can be
answered for any more.
"""

from dataclasses import dataclass
from typing import Generic

from service.batching.queue import Entry, Group, Payload, Queue, Result


@dataclass(frozen=True, slots=True)
class Decision(Generic[Group, Payload, Result]):
    """`batch` is of one group, oldest first, and empty when there is nothing to run."""

    batch: tuple[Entry[Group, Payload, Result], ...]
    cancelled: tuple[Entry[Group, Payload, Result], ...]
    expired: tuple[Entry[Group, Payload, Result], ...]


class OldestFirst(Generic[Group, Payload, Result]):
    """Runs the oldest entry together with those of its group that wait already.

    It never waits for more to come: the batcher asks only when the engine has a place, and an idle engine answers no
    one.
    """

    def __init__(self, max_batch_size: int) -> None:
        self._max_batch_size = max_batch_size

    def decide(self, now: float, queue: Queue[Group, Payload, Result]) -> Decision[Group, Payload, Result]:
        """What to run at `now`, a reading of the clock that the entries' deadlines are read on."""
        batch: list[Entry[Group, Payload, Result]] = []
        cancelled: list[Entry[Group, Payload, Result]] = []
        expired: list[Entry[Group, Payload, Result]] = []
        for entry in queue:
            if entry.future.done():
                cancelled.append(entry)
            elif entry.deadline <= now:
                expired.append(entry)
            elif not batch or entry.group == batch[0].group:
                batch.append(entry)
                if len(batch) == self._max_batch_size:
                    break
        return Decision(tuple(batch), tuple(cancelled), tuple(expired))
