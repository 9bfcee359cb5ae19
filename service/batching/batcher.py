"""Joins single images into batches and gives each caller its own answer back.

Decisions are synchronous, actions are not: whenever an entry arrives or a batch ends, the policy is asked, in the same
step of the event loop, what to run next. No task sits between a caller and the engine, so there is none to die
unnoticed, and an idle engine starts at once. Each batch runs in a task that the batcher owns.

A batch that fails is run again image by image, so that a poisoned one fails alone.

The batcher knows neither engines nor images: it is given `infer`, and its entries carry an opaque group.
"""

import asyncio
import contextvars
import functools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from service.batching.policy import NOBODY, Adaptive, Ahead
from service.batching.queue import Answer, Entry, Group, Payload, Queue, Result
from service.errors import DeadlineExceeded, Draining, EngineDown, EngineFailed, Overloaded, TooLate
from service.metrics import Metrics

logger = logging.getLogger(__name__)


Group_contra = TypeVar("Group_contra", contravariant=True)
Payload_contra = TypeVar("Payload_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class Infer(Protocol[Group_contra, Payload_contra, Result_co]):
    """Runs one batch of one group; nobody waits for any of it after `deadline`."""

    async def __call__(
        self, group: Group_contra, payloads: Sequence[Payload_contra], /, *, deadline: float
    ) -> Sequence[Result_co]:
        """One result per payload, in order."""
        ...


class Batcher(Generic[Group, Payload, Result]):
    """Nothing has to be started; `aclose` ends it. At most `capacity` entries wait.

    `images_running` are in the batches in flight.
    """

    def __init__(
        self,
        infer: Infer[Group, Payload, Result],
        policy: Adaptive[Group, Payload, Result],
        *,
        capacity: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._infer = infer
        self._policy = policy
        self._queue: Queue[Group, Payload, Result] = Queue(capacity)
        self._metrics = metrics
        metrics.queue_capacity.set(capacity)
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()
        self._in_flight: Counter[Group] = Counter()
        self.images_running = 0
        self._latest: tuple[Group, int] | None = None
        self._closing = False
        self._broken = False

    @property
    def healthy(self) -> bool:
        """False once a bug has stopped it for good."""
        return not self._broken

    @property
    def next_size(self) -> int:
        """How many images the next batch may want, by the last one."""
        return 1 if self._latest is None else self._policy.next_size(*self._latest)

    def has_room(self, ahead: int = 0) -> bool:
        """Whether an image that came now, behind so many `ahead`, would be worked on without a wait."""
        return not len(self._queue) and self._policy.has_room(self._clock(), running=len(self._running) + ahead)

    def admit(self, deadline: float, ahead: Ahead = NOBODY) -> None:
        """Raises TooLate if an image that came now, behind those `ahead`, could not be answered in time."""
        needed_s = self._policy.answer_s(self._queue, running=len(self._running), ahead=ahead)
        if self._clock() + needed_s > deadline:
            self._metrics.rejected.labels("deadline").inc()
            raise TooLate(
                f"an answer would take about {needed_s:.2g} s, longer than the deadline allows",
                retry_after_s=max(1, math.ceil(needed_s)),
            )

    def enqueue(self, payload: Payload, *, group: Group, deadline: float) -> Entry[Group, Payload, Result]:
        """Queues it, and starts a batch if there is a place. The caller is to `wait` for the entry.

        Raises Overloaded or Draining at once.
        """
        if self._closing or self._broken:
            raise Draining("the service is shutting down") if self._closing else EngineFailed("batching has stopped")
        self.admit(deadline)
        entry: Entry[Group, Payload, Result] = Entry(
            group, payload, self._clock(), deadline, asyncio.get_running_loop().create_future()
        )
        try:
            self._queue.append(entry)
        except Overloaded:
            self._metrics.rejected.labels("queue").inc()
            raise
        self._dispatch()
        return entry

    async def wait(self, entry: Entry[Group, Payload, Result]) -> Answer[Result]:
        """Its answer; whoever cancels the waiting gives up the entry's place. The deadline is the caller's to keep.

        Raises what `infer` raised, and DeadlineExceeded where the deadline passed in the queue.
        """
        try:
            return await entry.future
        finally:
            self._forget(entry, "expired" if entry.deadline <= self._clock() else "cancelled")

    async def submit(self, payload: Payload, *, group: Group, deadline: float) -> Answer[Result]:
        """Waits for the answer, until `deadline` on the clock at the latest.

        Raises Overloaded or Draining at once, DeadlineExceeded at the deadline, and what `infer` raised.
        """
        entry = self.enqueue(payload, group=group, deadline=deadline)
        try:
            async with asyncio.timeout(deadline - self._clock()):
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
            while self._start_batch():
                pass
            self._metrics.queue_length.set(len(self._queue))
        except Exception:  # only a bug gets here, and nobody may go on waiting for a batcher that cannot decide
            logger.exception("batching has stopped")
            self._broken = True
            for entry in list(self._queue):
                self._queue.remove(entry)
                entry.fail(EngineFailed("batching has stopped"))

    def _start_batch(self) -> bool:
        decision = self._policy.decide(self._clock(), self._queue, running=self._in_flight)
        for entry in decision.cancelled:
            self._forget(entry, "cancelled")
        for entry in decision.expired:
            self._forget(entry, "expired")
            entry.fail(DeadlineExceeded("the deadline passed in the queue"))
        for entry in decision.batch:
            self._queue.remove(entry)
        if decision.batch:
            # A context of its own: the batch belongs to no single request, least of all to the one that came last.
            task = asyncio.get_running_loop().create_task(
                self._run(decision.batch, load=len(self._running) + 1), context=contextvars.Context()
            )
            self._running.add(task)
            self._latest = group, size = decision.batch[0].group, len(decision.batch)
            self._in_flight[group] += 1
            self.images_running += size
            task.add_done_callback(functools.partial(self._finish, group, size))
        return bool(decision.batch)

    async def _run(self, batch: tuple[Entry[Group, Payload, Result], ...], *, load: int) -> None:
        started_at = self._clock()
        group = batch[0].group
        self._metrics.batch_size.observe(len(batch))
        try:
            results = await self._infer(
                group, [entry.payload for entry in batch], deadline=max(entry.deadline for entry in batch)
            )
            ended_at = self._clock()
            self._policy.observe(group, len(batch), load=load, seconds=ended_at - started_at, now=ended_at)
            for entry, result in zip(batch, results, strict=True):
                queued_s = started_at - entry.queued_at
                self._metrics.queue_wait.observe(queued_s)
                entry.resolve(Answer(result, queued_s, ended_at - started_at))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to those who wait for this batch
            await self._fail(batch, exc)

    async def _fail(self, batch: tuple[Entry[Group, Payload, Result], ...], error: Exception) -> None:
        """Whoever still waits for a batch that failed gets a run of their own, unless that could not help either."""
        if len(batch) == 1 or isinstance(error, EngineDown | DeadlineExceeded | Overloaded):
            for entry in batch:
                entry.fail(error)
            return
        self._metrics.errors.labels("batch-split").inc()
        for entry in batch:
            if entry.future.done():
                continue
            started_at = self._clock()
            try:
                (result,) = await self._infer(entry.group, [entry.payload], deadline=entry.deadline)
                entry.resolve(Answer(result, started_at - entry.queued_at, self._clock() - started_at))
            except Exception as exc:  # noqa: BLE001 - it belongs to the one who waits
                entry.fail(exc)

    def _finish(self, group: Group, size: int, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.images_running -= size
        self._in_flight[group] -= 1
        if not self._in_flight[group]:
            del self._in_flight[group]
        self._dispatch()

    def _forget(self, entry: Entry[Group, Payload, Result], reason: str) -> None:
        if self._queue.remove(entry):
            self._metrics.dropped.labels(reason).inc()
            self._metrics.queue_length.set(len(self._queue))
