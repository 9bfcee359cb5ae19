"""An open-loop HTTP load: requests come when they come, whether or not those before have been answered.

Arrivals are a Poisson process (or evenly spaced) drawn before the run. Each takes a free keep-alive connection of a
pool; where none is free it waits for one. Time counts from when a request was due, never from when it could be sent, so
a generator or a server that falls behind shows in the latencies (no coordinated omission). How late requests were sent
is reported: that is the generator's own fault.
"""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from connection import LOST, Connection
from load import HOST, Load, measured

_YIELD_EVERY = 8  # sends in a row, when behind, before answers are looked at
_GRACE_S = 5.0  # after the last arrival, for answers that are still under way


@dataclass(frozen=True, slots=True)
class Arrivals:
    """``per_second`` on average for ``seconds``; every request ought to be answered within ``deadline_s``."""

    per_second: float
    seconds: float
    deadline_s: float
    evenly: bool = False
    seed: int = 0

    def times(self) -> Iterator[float]:
        """Seconds after the start, rising."""
        draw = random.Random(self.seed)
        due = 0.0
        while (due := due + (1 / self.per_second if self.evenly else draw.expovariate(self.per_second))) < self.seconds:
            yield due


@dataclass(slots=True)
class Offered(Load):
    """What an open-loop run saw. Its rates are per second of the arrivals, without the wait for the last answers."""

    arrivals: Arrivals = field(default_factory=lambda: Arrivals(1.0, 1.0, 1.0))
    offered: int = 0
    good: int = 0  # 200, within the deadline, before the arrivals ended
    late_sends: list[float] = field(default_factory=list)  # seconds between due and sent
    unanswered: int = 0

    @property
    def goodput(self) -> float:
        """Useful answers per second."""
        return self.good / self.arrivals.seconds

    def lag(self, share: float) -> float:
        """Seconds that ``share`` of the requests were sent late at most."""
        ordered = sorted(self.late_sends)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON."""
        return {
            # Load's own, by name: a dataclass with slots is another class than the one that super() knows.
            **Load.summary(self),
            "offered": self.offered,
            "goodput": self.goodput,
            "refused_p99_ms": 1e3 * self.percentile(0.99, 503),
            "sent_late_p99_ms": 1e3 * self.lag(0.99),
            "unanswered": self.unanswered,
        }


def offer(port: int, requests: Sequence[bytes], arrivals: Arrivals, *, connections: int, host: str = HOST) -> Offered:
    """Offer ``requests`` in turn over at most ``connections`` keep-alive connections."""
    load = Offered(arrivals=arrivals)
    measured(_Pool(host, port, itertools.cycle(requests), load).run(connections), load)
    return load


class _Pool:
    """The connections of one run, and the requests that wait for one."""

    def __init__(self, host: str, port: int, turn: Iterator[bytes], load: Offered) -> None:
        self._host = host
        self._port = port
        self._turn = turn
        self._load = load
        self._free: deque[Connection] = deque()
        self._overdue: deque[float] = deque()
        self._busy: set[Connection] = set()
        self._reopening: set[asyncio.Task[None]] = set()
        self._started = 0.0
        self._sent_all = False
        self._idle = asyncio.Event()

    async def run(self, connections: int) -> None:
        """Open the pool, send each request when it is due, and wait a while for the last answers."""
        await asyncio.gather(*(self._open() for _ in range(connections)))
        schedule = list(self._load.arrivals.times())
        self._started = time.perf_counter()
        for number, due in enumerate(schedule):
            delay = self._started + due - time.perf_counter()
            if delay > 0 or number % _YIELD_EVERY == 0:
                await asyncio.sleep(max(delay, 0))
            self._load.offered += 1
            if self._free:
                self._send(self._free.pop(), self._started + due)
            else:
                self._overdue.append(self._started + due)
        await self._settle()

    async def _settle(self) -> None:
        self._sent_all = True
        if self._busy or self._overdue:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), _GRACE_S)
        self._load.unanswered = len(self._busy) + len(self._overdue)
        for connection in (*self._busy, *self._free):
            connection.close()
        for task in self._reopening:
            task.cancel()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._answered, self._closed), self._host, self._port
        )
        self._release(connection)

    def _send(self, connection: Connection, due: float) -> None:
        connection.scheduled = due
        self._load.late_sends.append(time.perf_counter() - due)
        self._busy.add(connection)
        connection.send(next(self._turn))

    def _answered(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        latency, arrivals = now - connection.scheduled, self._load.arrivals
        self._load.note(status, latency)
        self._busy.discard(connection)
        if status == 200 and latency <= arrivals.deadline_s and now <= self._started + arrivals.seconds:
            self._load.good += 1
        if status != LOST:
            self._release(connection)
        if self._sent_all and not self._busy and not self._overdue:
            self._idle.set()

    def _release(self, connection: Connection) -> None:
        if self._overdue:
            self._send(connection, self._overdue.popleft())
        else:
            self._free.append(connection)

    def _closed(self, connection: Connection) -> None:
        """The server closed one, as it may between requests: another takes its place."""
        if connection in self._free:
            self._free.remove(connection)
        task = asyncio.get_running_loop().create_task(self._open())
        self._reopening.add(task)
        task.add_done_callback(self._reopening.discard)
