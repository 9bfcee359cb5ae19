"""How many requests may be here at once, and which of them are still on their way.

A place is taken before a picture is read. One whose picture takes its time holds it as well, but keeps nobody else out
until there are as many of them again: a crowd of slow senders must not stop a service that is idle.
"""

from dataclasses import dataclass

from service.errors import Overloaded
from service.metrics import Metrics

# So long a picture is expected to be complete in no time, and counts as work that is ahead of others.
ARRIVING_S = 0.25
# From then on its sender is slow.
SLOW_S = 1.0


@dataclass(slots=True, eq=False)
class Place:
    """`since` is a reading of time.monotonic()."""

    since: float


class Places:
    """`capacity` requests at once, and as many slow senders beside them."""

    def __init__(self, capacity: int, metrics: Metrics) -> None:
        self._capacity = capacity
        self._metrics = metrics
        self._taken = 0
        # In the order they came.
        self._receiving: dict[Place, None] = {}
        metrics.concurrency_limit.set(capacity)

    def take(self, now: float) -> Place:
        """Raises Overloaded at once where there is none."""
        slow = 0
        for place in self._receiving:
            if now - place.since < SLOW_S:
                break
            slow += 1
        if self._taken - slow >= self._capacity or self._taken >= 2 * self._capacity:
            self._metrics.rejected.labels("places").inc()
            raise Overloaded(f"{self._taken} requests are in flight already")
        place = Place(now)
        self._taken += 1
        self._receiving[place] = None
        self._metrics.in_flight.set(self._taken)
        return place

    def received(self, place: Place) -> None:
        """Its picture is complete."""
        self._receiving.pop(place, None)

    def leave(self, place: Place) -> None:
        """Its request is answered."""
        self.received(place)
        self._taken -= 1
        self._metrics.in_flight.set(self._taken)

    def arriving(self, now: float) -> int:
        """How many pictures are about to be complete."""
        count = 0
        for place in reversed(self._receiving):
            if now - place.since > ARRIVING_S:
                break
            count += 1
        return count
