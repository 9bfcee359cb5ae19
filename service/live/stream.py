"""One stream: frames in, answers out in their order. Its tasks are its own, and none outlives `run`.

A reader pulls frames into the intake; each frame that has a turn is a task; `run` itself sends, one answer at a time.
"""

import asyncio
import contextvars
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from service.detector import Served
from service.errors import Finding, ImageError, InvalidOption, ServiceError, StreamTooSlow
from service.live.asking import Asking
from service.live.backlog import Backlog
from service.live.frame import Answered, Delivery, Dropped, Every, Failed, Frame, Outcome
from service.live.intake import Intake
from service.live.mailbox import Mailbox
from service.live.order import Order, Slot
from service.live.turns import Share, Turns
from service.live.wanted import StreamLimits, Transport
from service.metrics import Metrics
from service.tracing import begin_request, current_request_id

logger = logging.getLogger(__name__)

# A reader that always has a frame must still let others run.
READ_AT_ONCE = 16
# By then another process, or this one's successor, is there.
RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Closing:
    """The service is shutting down and reads no further frame; come back after `retry_after_s`."""

    retry_after_s: float


Send = Callable[[Outcome | Closing], Awaitable[None]]


class Stream:
    """`served` is what was current at the opening, `delivery` what is in force. `counts`: frames by outcome."""

    def __init__(
        self,
        asking: Asking,
        delivery: Delivery,
        turns: Turns,
        *,
        transport: Transport,
        limits: StreamLimits,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.served: Served = asking.served
        self.delivery = delivery
        self.counts: Counter[str] = Counter()
        self._asking = asking
        self._limits = limits
        self._metrics = metrics
        self._transport = transport
        self._age = metrics.frame_age.labels(transport)
        self._clock = clock
        self._order = Order()
        self._intake: Intake = self._choose(delivery)
        ageing = not isinstance(delivery, Every)
        self._share = Share(turns, wants=self._wants, begin=self._begin, ageing=ageing)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._context = contextvars.Context()
        self._last: int | None = None
        self._draining = False
        # Nothing is read any more; and whether that is since the frames have ended.
        self._read_all = False
        self._all_came = False
        self._ended = False
        self._bug: BaseException | None = None

    async def run(self, frames: AsyncIterator[Frame], send: Send) -> None:
        """Reads the frames and sends what becomes of each, until they end and all is sent; once.

        Raises StreamTooSlow where a `send` takes too long, Unauthenticated where the client's key is gone, Forbidden
        where it may not detect any more, and what `frames` and `send` raise. Whatever ends it, no frame is under way
        any more.
        """
        # Of the caller's context only the id: a trace would gather the stages of all the frames.
        self._context.run(begin_request, current_request_id())
        try:
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(self._read(frames)), group.create_task(self._renew())]
                await self._send_all(send)
                for task in others:
                    task.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await self._end()

    def drain(self) -> None:
        """No further frame is read; what was accepted is answered, and `run` ends."""
        self._draining = True
        self._intake.drain()
        self._share.ask()
        self._news.set()
        self._room.set()

    async def _read(self, frames: AsyncIterator[Frame]) -> None:
        count = 0
        try:
            while await self._may_read():
                frame = await anext(frames)
                if self._draining:
                    return
                self._accept(frame)
                count += 1
                if count % READ_AT_ONCE == 0:
                    await asyncio.sleep(0)
        except StopAsyncIteration:
            self._all_came = True
        finally:
            self._read_all = True
            self._news.set()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._limits.renew_s)
            self._asking.renew()

    async def _may_read(self) -> bool:
        """Waits until another frame may be read; False where none may any more."""
        while self._intake.full and not self._draining:
            self._room.clear()
            await self._room.wait()
        return not self._draining

    def _accept(self, frame: Frame) -> None:
        if self._last is not None and frame.sequence <= self._last:
            finding = Finding("/sequence", f"must rise from frame to frame; {frame.sequence} came after {self._last}")
            self._order.append(frame).settle(Failed(frame.emptied(), InvalidOption(finding)))
        else:
            self._last = frame.sequence
            self._intake.put(frame)
            self._share.ask()
        if self._order.ready:
            self._news.set()

    async def _send_all(self, send: Send) -> None:
        told = False
        while True:
            if self._bug is not None:
                raise self._bug
            if self._draining and not told:
                told = True
                if not self._all_came:
                    await self._send(send, Closing(RETRY_AFTER_S))
            elif (outcome := self._order.pop()) is not None:
                self._count(outcome)
                await self._send(send, outcome)
                self._order.sent(outcome)
                self._room.set()
                self._share.ask()
            elif (self._read_all or self._draining) and not len(self._order):
                return
            else:
                self._news.clear()
                await self._news.wait()

    async def _send(self, send: Send, outcome: Outcome | Closing) -> None:
        limit_s = self._limits.send_timeout_s
        try:
            async with asyncio.timeout(limit_s) as limit:
                await send(outcome)
        except TimeoutError:
            if not limit.expired():
                raise
            raise StreamTooSlow(f"an answer was not taken within {limit_s:g} s") from None

    def _count(self, outcome: Outcome) -> None:
        match outcome:
            case Answered():
                name, count = "answered", 1
            case Dropped():
                name, count = outcome.reason, outcome.count
            case Failed():
                name, count = "failed", 1
        self.counts[name] += count
        self._metrics.frames.labels(self._transport, name).inc(count)

    def _wants(self) -> bool:
        return not self._ended and self._intake.wants

    def _begin(self) -> bool:
        slot = self._intake.take(self._clock())
        if slot is None:
            self._news.set()
            return False
        task = asyncio.get_running_loop().create_task(self._infer(slot), context=self._context)
        self._tasks.add(task)
        task.add_done_callback(self._finish, context=self._context)
        return True

    async def _infer(self, slot: Slot) -> None:
        try:
            answered = await self._asking.answer(slot)
        except (ServiceError, ImageError) as error:
            self._intake.refuse(slot, error, self._clock())
        else:
            self._intake.answer(slot, answered)
            self._age.observe(answered.age_s)

    def _finish(self, task: asyncio.Task[None]) -> None:
        # Also of one that was cancelled before its first step.
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            logger.error("a frame failed by a bug of ours", exc_info=bug)
            self._metrics.errors.labels("stream-bug").inc()
            self._bug = bug
        if self._bug is not None or self._order.ready:
            self._news.set()
        self._share.leave()

    def _pause(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._resume, context=self._context)

    def _resume(self) -> None:
        assert isinstance(self._intake, Backlog)
        self._intake.resume()
        self._share.ask()

    async def _end(self) -> None:
        self._ended = True
        self._share.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _choose(self, delivery: Delivery) -> Intake:
        if isinstance(delivery, Every):
            return Backlog(self._order, delivery.credits, self._limits.timeout_s, pause=self._pause)
        return Mailbox(self._order, delivery.max_age_s)
