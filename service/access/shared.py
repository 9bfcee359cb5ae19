"""Rates counted in Redis, so that every process counts together; it answers soon or not at all.

A request waits for Redis a few milliseconds at most. The first one that waits in vain opens the circuit: from then on
Redis is not asked, except by a task of ours that tries, after pauses that grow, whether it answers in time again. So an
outage costs one wait to those who are in flight, and no request ever probes. A stall of this process looks the same
from here, and costs half a second of counting alone.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from limits.aio.storage import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.access.allowance import Allowance, take
from service.access.rate import MOST_LIMIT, Rate
from service.errors import SettingsError
from service.metrics import Metrics

logger = logging.getLogger(__name__)

KEY_PREFIX = "yolov7"
# What a request waits at most, in seconds: five times what a Redis in the same zone takes when it is busy.
BUDGET_S = 0.02
# What a trial waits at most; it may have to resolve, connect and shake hands.
TRIAL_S = 1.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
MOST_CONNECTIONS = 32
TRIAL_RATE = Rate(MOST_LIMIT, 1)
# Redis is away, late, or not in a state to count: all one to us. OSError comes out of resolving and of TLS.
FAILURES = (RedisError, TimeoutError, OSError)


class SharedRates:
    """Rates in the Redis at `url`: redis://, rediss:// or unix://. Raises SettingsError where it is none of these.

    Nothing has to be started; `aclose` ends the trial that may run and closes the connections.
    """

    def __init__(
        self,
        url: str,
        *,
        metrics: Metrics,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = _pool(url)
        # The library's signature knows no pool, its documentation does.
        options: dict[str, Any] = {"connection_pool": self._pool}
        self._storage = RedisStorage("async+redis://", implementation="redispy", key_prefix=KEY_PREFIX, **options)
        self._metrics = metrics
        self._budget_s = budget_s
        self._clock = clock
        self._pause_s = 0.0
        self._next_trial_at = 0.0
        self._trial: asyncio.Task[None] | None = None

    @property
    def answering(self) -> bool:
        """False while Redis is not asked."""
        return self._pause_s == 0.0

    async def take(self, rate: Rate, identity: str) -> Allowance | None:
        """Counts one request, or None where Redis cannot say. Raises RateLimited. Takes `budget_s` at most."""
        if not self.answering:
            self._try_when_due()
            return None
        try:
            async with asyncio.timeout(self._budget_s):
                return await take(self._storage, rate, identity)
        except FAILURES as exc:
            self._fail(exc)
            return None

    async def trial(self) -> None:
        """Asks Redis once, and closes or opens the circuit by how it answers. Takes about TRIAL_S at most."""
        try:
            async with asyncio.timeout(TRIAL_S):  # connects, and loads the scripts
                await take(self._storage, TRIAL_RATE, "trial")
            async with asyncio.timeout(self._budget_s):
                await take(self._storage, TRIAL_RATE, "trial")
        except FAILURES as exc:
            self._fail(exc)
            return
        if not self.answering:
            self._pause_s = 0.0
            logger.info("rates are counted in Redis again")

    async def aclose(self) -> None:
        """Cancels a trial and closes the connections."""
        if self._trial:
            self._trial.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._trial
        await self._pool.aclose()

    def _fail(self, exc: Exception) -> None:
        self._metrics.errors.labels("rates").inc()
        if self.answering:
            self._pause_s = FIRST_PAUSE_S
            self._next_trial_at = self._clock() + self._pause_s
            reason = str(exc) or type(exc).__name__
            logger.warning("rates are counted in this process alone, Redis does not answer: %s", reason)

    def _try_when_due(self) -> None:
        now = self._clock()
        if now < self._next_trial_at or (self._trial and not self._trial.done()):
            return
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._next_trial_at = now + self._pause_s
        self._trial = asyncio.get_running_loop().create_task(self.trial())


def _pool(url: str) -> BlockingConnectionPool:
    try:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=TRIAL_S,
            # Every wait has a limit of ours. A connection of the pool may have ended unnoticed, and then a second try,
            # at once, finds a Redis that came back; at worst a request is counted twice.
            retry=Retry(NoBackoff(), 1),
            socket_timeout=None,
            socket_connect_timeout=None,
        )
    except ValueError as exc:  # not repeated: the URL may hold a password
        raise SettingsError("the Redis URL must be like redis://host:6379/0, rediss://… or unix:///path") from exc
