"""The stream to the service, and what becomes of the frames on it when it breaks.

Where every frame counts, those that were sent and not answered are sent again, under their old numbers, on the next
stream. Where the newest wins they are lost, and told as such; they would be late by then.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

import numpy as np

from service.camera.backoff import Backoff
from service.camera.events import Answered, Dropped, Event, Failed, Notice
from service.camera.handover import Handover
from service.camera.pending import Pending, Sent
from service.camera.shot import Parcel, Shot
from service.client import (
    AsyncClient,
    ClientError,
    Detections,
    Frame,
    FrameFailed,
    FrameResult,
    FramesDropped,
    RequestRefused,
    ServiceFailed,
    ServiceUnavailable,
    TimedOut,
)
from service.client.frames import Delivery
from service.client.options import DetectOptions
from service.client.results import Outcome
from service.vision.image import ImageError

OPEN_TIMEOUT_S = 10.0
# Frames unanswered where every one counts: enough to keep the service busy, few enough to keep their pictures.
CREDITS = 16

Emit = Callable[[Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sending:
    """How frames go. jpeg_quality: None sends bare pixels. keeps_pictures: answers are told with their picture.

    max_side: longer ones are made smaller first. give_up_s: end once the service has been away for so long, or has
    left a frame unanswered; None: never.
    silence_s: a stream with frames on it that says nothing for so long is taken for dead.
    """

    delivery: Delivery
    options: DetectOptions
    name: str = ""
    max_age_s: float | None = None
    jpeg_quality: int | None = 90
    max_side: int | None = None
    keeps_pictures: bool = False
    give_up_s: float | None = None
    silence_s: float = 30.0


class Sender:
    """Takes frames from `handover` until it is exhausted and all have been answered; `emit` is told of each."""

    def __init__(
        self, client: AsyncClient, handover: Handover, emit: Emit, *, sending: Sending, backoff: Backoff
    ) -> None:
        # Where every frame counts, its credits bound how many there are.
        self.pending = Pending(None) if sending.delivery == "every" else Pending()
        self._client = client
        self._handover = handover
        self._emit = emit
        self._sending = sending
        self._backoff = backoff
        self._again: list[Shot] = []
        self._told_open = False
        self._heard_at = time.monotonic()
        # None while the service is not known to be away.
        self._away_since: float | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """No frame is taken any more, and a service that is lost from now on is not looked for."""
        self._handover.finish()
        self._stopped.set()

    async def run(self) -> None:
        """Until all is answered. Raises RequestRefused for what the service will never take.

        Raises another ClientError where the service was away for longer than it is waited for, and whatever the
        source ended in.
        """
        while True:
            try:
                await self._stream()
            except RequestRefused:
                raise
            except ClientError as error:
                await self._lose(error)
                if self._handover.exhausted and not self.pending:
                    await self._handover.take()  # raises what the source ended in
                    return
            else:
                return

    async def _stream(self) -> None:
        sending = self._sending
        self._again = self.pending.shots()
        self._told_open = False
        answers = self._client.stream(
            self._frames(),
            delivery=sending.delivery,
            max_age_s=sending.max_age_s if sending.delivery == "latest" else None,
            credits=CREDITS if sending.delivery == "every" else None,
            name=sending.name,
            jpeg_quality=sending.jpeg_quality,
            timeout_s=OPEN_TIMEOUT_S,
            **sending.options,
        )
        async with aclosing(answers):
            while (outcome := await self._next(answers)) is not None:
                self._heard_at, self._away_since = time.monotonic(), None
                self._backoff.worked()
                if not self._told_open:
                    self._told_open = True
                    await self._emit(Notice("service", "open", f"delivery {sending.delivery}"))
                for event in self._events(outcome):
                    await self._emit(event)

    async def _frames(self) -> AsyncGenerator[Frame, None]:
        """What the client reads. A frame is among the pending ones before anything can be cancelled."""
        while True:
            shot = self._again.pop(0) if self._again else await self._handover.take()
            if shot is None:
                return
            self.pending.add(shot)
            replaced = self._handover.replaced()
            if replaced is not None:
                await self._emit(replaced)
            parcel = await self._pack(shot)
            if parcel is not None:
                kept = self._sending.keeps_pictures or self._sending.delivery == "every"
                self.pending.add(shot if kept else replace(shot, picture=None), parcel.scale_xy)
                yield Frame(parcel.content, shot.sequence, shot.captured_at)

    async def _pack(self, shot: Shot) -> Parcel | None:
        """None where the picture must be decoded and cannot be; it fails without being sent."""
        assert shot.picture is not None
        try:
            return await asyncio.to_thread(shot.picture.pack, self._sending.max_side)
        except ImageError as error:
            self.pending.take(shot.sequence)
            await self._emit(Failed(shot, "undecodable-image", str(error)))
            return None

    async def _next(self, answers: AsyncGenerator[Outcome, None]) -> Outcome | None:
        """The next outcome; None after the last. Raises TimedOut for a service that says nothing while it should."""
        silence_s = self._sending.silence_s
        asked = asyncio.create_task(_pull(answers))
        try:
            while not asked.done():
                await asyncio.wait({asked}, timeout=silence_s)
                waited_s = min(self.pending.waited_s(), time.monotonic() - self._heard_at)
                if not asked.done() and waited_s >= silence_s:
                    raise TimedOut(f"the service has not answered for {silence_s:.0f} s")
            return asked.result()
        finally:
            asked.cancel()
            # Does not raise what the other ended in, but is ended itself where the run is.
            await asyncio.wait({asked})
            _ = asked.cancelled() or asked.exception()

    def _events(self, outcome: Outcome) -> Iterator[Event]:
        if isinstance(outcome, FramesDropped):
            self.pending.drop(outcome.first, outcome.last)
            yield Dropped(outcome.reason, outcome.first, outcome.last, outcome.count)
            return
        sent = self.pending.take(outcome.sequence)
        if sent is None:
            raise ServiceFailed(f"the service answered frame {outcome.sequence}, which was not on its way")
        if isinstance(outcome, FrameFailed):
            yield Failed(sent.shot, outcome.name, outcome.detail)
        else:
            yield _answered(sent, outcome)

    async def _lose(self, error: ClientError) -> None:
        """Tells what is lost, and waits before the next try. Raises the error where there is none."""
        if self._away_since is None:
            self._away_since = time.monotonic() - self.pending.waited_s()
        if self._sending.delivery == "latest" or self._stopped.is_set():
            await self._lose_pending()
        away_s, give_up_s = time.monotonic() - self._away_since, self._sending.give_up_s
        if give_up_s is not None and away_s > give_up_s:
            raise error
        pause_s = self._backoff.failed()
        if isinstance(error, ServiceUnavailable):
            pause_s += error.retry_after_s or 0.0
        await self._emit(Notice("service", "lost", str(error), pause_s))
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopped.wait()
                await self._lose_pending()

    async def _lose_pending(self) -> None:
        shots = self.pending.shots()
        if shots:
            self.pending.drop(shots[0].sequence, shots[-1].sequence)
            await self._emit(Dropped("lost", shots[0].sequence, shots[-1].sequence, len(shots)))


async def _pull(answers: AsyncGenerator[Outcome, None]) -> Outcome | None:
    return await anext(answers, None)


def _answered(sent: Sent, result: FrameResult) -> Answered:
    horizontal, vertical = sent.scale_xy
    found, (height, width) = result.detections, result.image_hw
    boxes = found.boxes * np.array([horizontal, vertical, horizontal, vertical], np.float32)
    return Answered(
        shot=sent.shot,
        detections=Detections(boxes, found.scores, found.class_ids, found.labels),
        image_hw=(round(height * vertical), round(width * horizontal)),
        age_s=result.age_s,
        delay_s=time.monotonic() - sent.shot.read_at,
        model=result.model,
    )
