"""Joins single images into batches and gives each caller its own answer back.

Decisions are synchronous, actions are not: whenever an entry arrives or a batch ends, the policy is asked, in the same
step of the event loop, what to run next. No task sits between a caller and the engine, so there is none to die
unnoticed, and an idle engine starts at once. Each batch runs in a task that the batcher owns.

The batcher knows neither engines nor images: it is given `infer`, and its entries carry an opaque group.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from service.batching.policy import OldestFirst
from service.batching.queue import Answer, Entry, Group, Payload, Queue, Result
from service.errors import DeadlineExceeded, Draining, EngineFailed, Overloaded
from service.metrics import Metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most `waiting` entries in the queue and `running` batches in the engine."""

    waiting: int
    running: int


class Batcher(Generic[Group, Payload, Result]):
    """Nothing has to be started; `aclose` ends it."""

    def __init__(
        self,
        infer: Callable[[Group, Sequence[Payload]], Awaitable[Sequence[Result]]],
        policy: OldestFirst[Group, Payload, Result],
        *,
        bounds: Bounds,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._infer = infer
        self._policy = policy
        self._queue: Queue[Group, Payload, Result] = Queue(bounds.waiting)
        self._most_running = bounds.running
        self._metrics = metrics
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False
        self._broken = False

    @property
    def healthy(self) -> bool:
        """False once a bug has stopped it for good."""
        return not self._broken

    async def submit(self, payload: Payload, *, group: Group, deadline: float) -> Answer[Result]:
        """Waits for the answer, until `deadline` on the clock at the latest.

        Raises Overloaded or Draining at once, DeadlineExceeded at the deadline, and what `infer` raised.
        """
        if self._closing or self._broken:
            raise Draining("the service is shutting down") if self._closing else EngineFailed("batching has stopped")
        now = self._clock()
        entry: Entry[Group, Payload, Result] = Entry(
            group, payload, now, deadline, asyncio.get_running_loop().create_future()
        )
        try:
            self._queue.append(entry)
        except Overloaded:
            self._metrics.rejected.labels("queue").inc()
            raise
        self._dispatch()
        try:
            async with asyncio.timeout(deadline - now):
                return await entry.future
        except TimeoutError:
            self._forget(entry, "expired")
            raise DeadlineExceeded("the deadline passed before the engine answered") from None
        finally:
            self._forget(entry, "cancelled")

    async def aclose(self) -> None:
        """Refuses what comes from now on, and waits for all that was accepted."""
        self._closing = True
        while self._running:
            await asyncio.wait(self._running)

    def _dispatch(self) -> None:
        if self._broken:
            return
        try:
            while len(self._running) < self._most_running and self._start_batch():
                pass
            self._metrics.queue_length.set(len(self._queue))
        except Exception:  # only a bug gets here, and nobody may go on waiting for a batcher that cannot decide
            logger.exception("batching has stopped")
            self._broken = True
            for entry in list(self._queue):
                self._queue.remove(entry)
                entry.fail(EngineFailed("batching has stopped"))

    def _start_batch(self) -> bool:
        decision = self._policy.decide(self._clock(), self._queue)
        for entry in decision.cancelled:
            self._forget(entry, "cancelled")
        for entry in decision.expired:
            self._forget(entry, "expired")
            entry.fail(DeadlineExceeded("the deadline passed in the queue"))
        for entry in decision.batch:
            self._queue.remove(entry)
        if decision.batch:
            task = asyncio.get_running_loop().create_task(self._run(decision.batch))
            self._running.add(task)
            task.add_done_callback(self._finish)
        return bool(decision.batch)

    async def _run(self, batch: tuple[Entry[Group, Payload, Result], ...]) -> None:
        started_at = self._clock()
        self._metrics.batch_size.observe(len(batch))
        try:
            results = await self._infer(batch[0].group, [entry.payload for entry in batch])
            inferred_s = self._clock() - started_at
            for entry, result in zip(batch, results, strict=True):
                queued_s = started_at - entry.queued_at
                self._metrics.queue_wait.observe(queued_s)
                entry.resolve(Answer(result, queued_s, inferred_s))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait for this batch
            for entry in batch:
                entry.fail(exc)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._dispatch()

    def _forget(self, entry: Entry[Group, Payload, Result], reason: str) -> None:
        if self._queue.remove(entry):
            self._metrics.dropped.labels(reason).inc()
