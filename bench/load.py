"""A closed-loop HTTP load: N keep-alive clients that each post the next photo as soon as the last is answered.

Requests are prepared as bytes and sent over plain asyncio sockets, so that the generator costs a fraction of a
millisecond of a core per request; what it costs is measured and reported, since it shares the machine.
"""

import asyncio
import itertools
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Load:
    """What a run of the generator saw."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Answered 200 per second."""
        return self.statuses.get(200, 0) / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in seconds below which ``share`` of the requests were answered."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request_bytes(image: bytes, *, host: str, path: str, content_type: str = "image/jpeg") -> bytes:
    """One POST with a raw image body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: {len(image)}\r\n\r\n"
    )
    return head.encode() + image


async def drive(host: str, port: int, requests: list[bytes], *, clients: int, seconds: float) -> Load:
    """Keep ``clients`` requests in flight for ``seconds``; those in flight at the end are awaited and counted."""
    load, turn = Load(), itertools.cycle(requests)
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    await asyncio.gather(*(_client(host, port, turn, started + seconds, load) for _ in range(clients)))
    load.seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    load.cpu_seconds = after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return load


async def _client(host: str, port: int, turn: Iterator[bytes], until: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while (sent := time.perf_counter()) < until:
        writer.write(next(turn))
        await writer.drain()
        status = await _answer(reader)
        load.latencies.append(time.perf_counter() - sent)
        load.statuses[status] = load.statuses.get(status, 0) + 1
    writer.close()
    await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:"))
    await reader.readexactly(length)
    return int(lines[0].split()[1])
