"""A closed-loop HTTP load: N keep-alive clients that each post the next photo as soon as the last is answered.

Requests are prepared as bytes; what the generator costs is measured and reported, since it shares the machine.
"""

import asyncio
import gc
import itertools
import resource
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop
from connection import LOST, Connection

HOST = "127.0.0.1"


@dataclass(slots=True)
class Load:
    """What a run of the generator saw: latencies in seconds, by status."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    answers: dict[int, list[float]] = field(default_factory=dict)

    @property
    def statuses(self) -> dict[int, int]:
        """How often each status came; LOST where a connection broke."""
        return {status: len(latencies) for status, latencies in sorted(self.answers.items())}

    @property
    def per_second(self) -> float:
        """Answered 200 per second."""
        return len(self.answers.get(200, ())) / self.seconds

    @property
    def cores(self) -> float:
        """How many cores the generator itself used."""
        return self.cpu_seconds / self.seconds

    def note(self, status: int, latency: float) -> None:
        """Count one answer."""
        self.answers.setdefault(status, []).append(latency)

    def percentile(self, share: float, status: int = 200) -> float:
        """Latency in seconds below which ``share`` of the answers of a status came; NaN if there was none."""
        ordered = sorted(self.answers.get(status, ()))
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")

    def summary(self) -> dict[str, Any]:
        """The figures, for JSON."""
        milliseconds = {f"p{int(100 * share)}_ms": 1e3 * self.percentile(share) for share in (0.5, 0.9, 0.99)}
        return {"per_second": self.per_second, **milliseconds, "cores": self.cores, "statuses": self.statuses}

    def line(self) -> str:
        """The figures, for people."""
        median, late = 1e3 * self.percentile(0.5), 1e3 * self.percentile(0.99)
        return f"p50 {median:.1f} ms  p99 {late:.1f} ms  {self.statuses}  load generator {self.cores:.2f} cores"


def drive(port: int, requests: Sequence[bytes], *, clients: int, seconds: float, host: str = HOST) -> Load:
    """Keep ``clients`` requests in flight for ``seconds``; those in flight at the end are awaited and counted."""
    load = Load()
    measured(_Clients(itertools.cycle(requests), load).run(host, port, clients=clients, seconds=seconds), load)
    return load


def measured(work: Coroutine[Any, Any, None], load: Load) -> None:
    """Run ``work`` on an event loop of its own and note the time and the CPU time that it took."""
    gc.collect()
    gc.disable()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    try:
        uvloop.run(work)
    finally:
        gc.enable()
    load.seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    load.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class _Clients:
    """The clients of one run."""

    def __init__(self, turn: Iterator[bytes], load: Load) -> None:
        self._turn = turn
        self._load = load
        self._until = 0.0
        self._done = asyncio.Semaphore(0)

    async def run(self, host: str, port: int, *, clients: int, seconds: float) -> None:
        """Open the connections, let each go on until its time is over, and wait for the last answer."""
        loop = asyncio.get_running_loop()
        opened = [loop.create_connection(lambda: Connection(self._answered), host, port) for _ in range(clients)]
        connections = [connection for _, connection in await asyncio.gather(*opened)]
        self._until = time.perf_counter() + seconds
        for connection in connections:
            self._next(connection)
        for _ in connections:
            await self._done.acquire()
        for connection in connections:
            connection.close()

    def _next(self, connection: Connection) -> None:
        connection.scheduled = time.perf_counter()
        connection.send(next(self._turn))

    def _answered(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        self._load.note(status, now - connection.scheduled)
        # A client whose connection broke has ended: it shows in the statuses, and the load is not what was asked for.
        if status == LOST or now >= self._until:
            self._done.release()
        else:
            self._next(connection)
