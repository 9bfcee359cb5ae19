"""The tier in Redis, which every replica shares. It never raises, and a slow or absent Redis costs next to nothing.

A look-up has a budget; what is not answered by then is a miss. The read itself goes on in a task that the tier owns,
since cancelling it would close its connection: so a hiccup costs no reconnecting, and what a first connection takes
longer than the budget is there for the next look-up. After a few failures in a row the breaker spares the look-ups.

Writes wait in a short queue for a few tasks, and are dropped when it is full.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from service.cache.breaker import Attempt, Breaker
from service.cache.entry import CachedImage, DamagedEntry, decode, encode
from service.metrics import Metrics

logger = logging.getLogger(__name__)

Result = Literal["hit_redis", "miss", "late", "skipped", "error", "damaged"]

# The number is raised with the wire form's version, so that a rolling upgrade finds misses and not damage.
PREFIX = b"yolov7:candidates:1:"
# At once, those that wait for a connection included.
READS = 32
WRITERS = 4
WAITING = 64
# How long closing waits for what is being written.
FLUSH_S = 0.5


class RedisTier:
    """`client` is its caller's to close, after this. `budget_s`: how long a look-up may take.

    `clock` (seconds) is what the breaker goes by.
    """

    def __init__(
        self,
        client: Redis,
        *,
        ttl_s: float,
        metrics: Metrics,
        budget_s: float = 0.005,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._ttl_ms = round(ttl_s * 1000)
        self._metrics = metrics
        self._budget_s = budget_s
        self._clock = clock
        self._breaker = Breaker()
        self._reads: set[asyncio.Task[tuple[Result, CachedImage | None]]] = set()
        self._writers: set[asyncio.Task[None]] = set()
        self._waiting: deque[tuple[bytes, CachedImage]] = deque()
        self._closing = False

    async def get(self, key: bytes) -> CachedImage | None:
        """The entry, if Redis has it and answers within the budget."""
        try:
            result, entry = await self._look_up(key)
        except asyncio.CancelledError:
            # Whoever asked went on without it.
            self._metrics.cache.labels("late").inc()
            raise
        self._metrics.cache.labels(result).inc()
        return entry

    def put(self, key: bytes, entry: CachedImage) -> None:
        """Has it written for the time to live, soon; or drops it, if too much waits or Redis is away."""
        if self._closing or self._breaker.is_open or len(self._waiting) >= WAITING:
            self._metrics.cache.labels("dropped").inc()
            return
        self._waiting.append((key, entry))
        if len(self._writers) < WRITERS:
            writer = asyncio.get_running_loop().create_task(self._write_all())
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)

    async def aclose(self) -> None:
        """Gives what is being written a moment, and ends every task."""
        self._closing = True
        if self._writers:
            await asyncio.wait(self._writers, timeout=FLUSH_S)
        tasks = (*self._reads, *self._writers)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._metrics.cache.labels("dropped").inc(len(self._waiting))
        self._waiting.clear()

    async def _look_up(self, key: bytes) -> tuple[Result, CachedImage | None]:
        # In this order, so that a probe that was granted is always made.
        if self._closing or len(self._reads) >= READS or (attempt := self._breaker.attempt(self._clock())) is None:
            return "skipped", None
        loop = asyncio.get_running_loop()
        # Before the waiting below, so that this look-up is judged when the next one begins.
        overdue = loop.call_later(self._budget_s, self._overdue, attempt, self._clock() + self._budget_s)
        read = loop.create_task(self._read(key, attempt))
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)
        read.add_done_callback(lambda _: overdue.cancel())
        await asyncio.wait([read], timeout=self._budget_s)
        return read.result() if read.done() and not read.cancelled() else ("late", None)

    async def _read(self, key: bytes, attempt: Attempt) -> tuple[Result, CachedImage | None]:
        try:
            data = await self._client.get(PREFIX + key)
        except Exception as exc:  # noqa: BLE001 - whatever a client library throws, a cache that fails is a miss
            self._metrics.errors.labels("cache").inc()
            self._failed(attempt, exc)
            return "error", None
        if self._breaker.succeeded(attempt):
            logger.info("the shared cache answers again")
        if data is None:
            return "miss", None
        try:
            return "hit_redis", decode(_as_bytes(data))
        except DamagedEntry as exc:
            self._metrics.errors.labels("cache").inc()
            logger.warning("an entry of the shared cache is damaged: %s", exc)
            return "damaged", None

    def _overdue(self, attempt: Attempt, due: float) -> None:
        # An event loop that comes to this so late was itself what kept the answer waiting.
        if self._clock() - due < self._budget_s:
            self._failed(attempt, TimeoutError(f"no answer within {self._budget_s * 1000:g} ms"))

    async def _write_all(self) -> None:
        while self._waiting:
            key, entry = self._waiting.popleft()
            # Nobody waits for a write, so it is no probe either.
            if self._breaker.is_open or not await self._write(key, entry):
                self._metrics.cache.labels("dropped").inc()

    async def _write(self, key: bytes, entry: CachedImage) -> bool:
        attempt = self._breaker.attempt(self._clock())
        assert attempt is not None, "a closed breaker lets everything be tried"
        try:
            await self._client.set(PREFIX + key, encode(entry), px=self._ttl_ms)
        except ResponseError as exc:
            # Full or read-only, say: it answers, so reading may go on.
            self._metrics.errors.labels("cache").inc()
            logger.debug("the shared cache refused a write: %s", exc)
            return False
        except Exception as exc:  # noqa: BLE001 - as in reading
            self._metrics.errors.labels("cache").inc()
            self._failed(attempt, exc)
            return False
        # That a write succeeded is not told to the breaker, since it may have been slower than a look-up may be.
        return True

    def _failed(self, attempt: Attempt, why: Exception) -> None:
        if self._breaker.failed(attempt, self._clock()):
            logger.warning("the shared cache is left alone for a while: %s: %s", type(why).__name__, why)


def _as_bytes(data: bytes | str) -> bytes:
    assert isinstance(data, bytes), "the client is to decode nothing"
    return data
