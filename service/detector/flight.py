"""Identical work in flight is done once, and belongs to no one who waits for it.

A flight goes on while anybody waits: one who leaves or whose deadline passes harms no other, one with more patience
moves the flight's deadline back, and when the last has left it is cancelled. What cannot be moved back any more, such
as a batch that the engine has, is begun anew for whoever has more patience. Knows nothing of what is being done.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from service.batching import Entry
from service.errors import DeadlineExceeded

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Flight(Generic[Result]):
    """`deadline` is a reading of time.monotonic(): the latest that anybody waits for."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.waiters = 0
        self.task: asyncio.Task[Result] | None = None
        self._entry: Entry[Any, Any, Any] | None = None

    def carries(self, entry: Entry[Any, Any, Any]) -> None:
        """From now on the entry's deadline moves with the flight's."""
        self._entry = entry
        entry.deadline = self.deadline

    def extend(self, deadline: float) -> None:
        """Somebody waits until `deadline`."""
        self.deadline = max(self.deadline, deadline)
        if self._entry is not None:
            self._entry.deadline = self.deadline


class Flights(Generic[Key, Result]):
    """The flights that are under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[Key, Flight[Result]] = {}

    async def share(
        self, key: Key, deadline: float, work: Callable[[Flight[Result]], Coroutine[Any, Any, Result]]
    ) -> tuple[Result, bool]:
        """The result of the flight under this key, and whether somebody else had started it.

        Without one, `work` starts it. Raises what the work raised. The deadline is the caller's to keep.
        """
        flight = self._flights.get(key)
        joined = flight is not None
        if flight is None:
            flight = self._flights[key] = Flight(deadline)
            flight.task = asyncio.get_running_loop().create_task(work(flight))
            flight.task.add_done_callback(lambda task: self._land(key, flight, task))
        flight.extend(deadline)
        assert flight.task is not None
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task), joined
        except DeadlineExceeded:
            # Where it was not this one's own, the flight was bound by the deadline of somebody before.
            if not joined or deadline <= time.monotonic():
                raise
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                # Out of sight at once, so that nobody joins what is being cancelled.
                del self._flights[key]
                flight.task.cancel()
        return await self.share(key, deadline, work)

    def _land(self, key: Key, flight: Flight[Result], task: asyncio.Task[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not task.cancelled():
            # Retrieved here, because the last who waited may have left at this very moment.
            task.exception()
