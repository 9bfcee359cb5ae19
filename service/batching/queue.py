"""The bounded queue of what waits for a place in a batch, and the entries in it.

An entry owns its future: whoever waits for it is answered through it and through nothing else, and cancelling it is
how a client leaves. Nothing here decides, waits or runs.
"""

import asyncio
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import Overloaded

Group = TypeVar("Group", bound=Hashable)
Payload = TypeVar("Payload")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """What an entry's future holds in the end, with the two stages that only the batcher sees."""

    result: Result
    queued_s: float
    inferred_s: float


@dataclass(slots=True, eq=False)
class Entry(Generic[Group, Payload, Result]):
    """One image that waits. `queued_at` and `deadline` are readings of the batcher's monotonic clock, in seconds.

    The deadline may be moved back for as long as the entry waits: somebody with more patience has joined.
    """

    group: Group
    payload: Payload
    queued_at: float
    deadline: float
    future: asyncio.Future[Answer[Result]]

    def fail(self, error: Exception) -> None:
        """Answers whoever still waits with an error."""
        if not self.future.done():
            self.future.set_exception(error)

    def resolve(self, answer: Answer[Result]) -> None:
        """Answers whoever still waits."""
        if not self.future.done():
            self.future.set_result(answer)


class Queue(Generic[Group, Payload, Result]):
    """Entries in order of arrival. Iterating yields the oldest first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # A dict for its order and its removal in O(1), wherever the entry stands.
        self._entries: dict[Entry[Group, Payload, Result], None] = {}
        self._counts: dict[Group, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry[Group, Payload, Result]]:
        return iter(self._entries)

    @property
    def counts(self) -> Mapping[Group, int]:
        """How many entries of each group wait."""
        return self._counts

    def append(self, entry: Entry[Group, Payload, Result]) -> None:
        """Raises Overloaded at once when every place is taken."""
        if len(self._entries) >= self._capacity:
            raise Overloaded(f"the queue is full ({self._capacity} images wait)")
        self._entries[entry] = None
        self._counts[entry.group] = self._counts.get(entry.group, 0) + 1

    def remove(self, entry: Entry[Group, Payload, Result]) -> bool:
        """Says whether the entry was still here."""
        if entry not in self._entries:
            return False
        del self._entries[entry]
        self._counts[entry.group] -= 1
        if not self._counts[entry.group]:
            del self._counts[entry.group]
        return True
