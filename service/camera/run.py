"""One run, from its start to the summary: whatever ends it, what is written is whole.

The first signal stops the source and waits a moment for the answers that are on their way; a second one does not wait,
and a third one kills.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from service.camera.backoff import Backoff
from service.camera.capture import Capture, CaptureOptions
from service.camera.events import Event, Failed, Notice
from service.camera.handover import Handover
from service.camera.outputs import Output, Outputs
from service.camera.sending import Sender, Sending
from service.camera.source import Source, SourceError, mask
from service.camera.tally import Tally
from service.camera.view import View, summary
from service.client import AsyncClient, ClientError, Retries

logger = logging.getLogger(__name__)

# For the answers of frames that were on their way when a signal came.
LAST_S = 5.0
LONGEST_PAUSE_S = 10.0
# Clocks take no infinity.
LONGEST_SLEEP_S = 3600.0


@dataclass(frozen=True, slots=True)
class Service:
    """Where the frames go; the arguments of AsyncClient."""

    url: str
    grpc: str | None = None
    key: str | None = None
    ca: Path | None = None

    def client(self) -> AsyncClient:
        """Raises OSError for a `ca` that cannot be read."""
        # The pauses between tries are ours.
        return AsyncClient(self.url, grpc=self.grpc, key=self.key, ca=self.ca, retries=Retries(0))


@dataclass(frozen=True, slots=True)
class Ending:
    """`error` is one line for people; None where there is nothing to complain of."""

    code: int
    error: str | None = None


class Run:
    """All of a run. `open_outputs` is called once, after the service's address has been understood."""

    def __init__(
        self,
        source: Source,
        service: Service,
        open_outputs: Callable[[], Sequence[Output]],
        *,
        capturing: CaptureOptions,
        sending: Sending,
        console: Console,
    ) -> None:
        self._source = source
        self._service = service
        self._open_outputs = open_outputs
        self._capturing = capturing
        self._sending = sending
        self._console = console
        self._tally = Tally(time.monotonic())
        self._writing = asyncio.Lock()
        self._signal: int | None = None

    async def run(self) -> Ending:
        """Raises OSError for an output that cannot be opened."""
        async with self._service.client() as client:
            self._outputs = Outputs(self._open_outputs())
            self._loop = asyncio.get_running_loop()
            handover = Handover(newest=self._sending.delivery == "latest")
            capture = Capture(
                self._source,
                handover,
                self._report,
                options=self._capturing,
                backoff=Backoff(longest_s=LONGEST_PAUSE_S),
            )
            backoff = Backoff(longest_s=LONGEST_PAUSE_S)
            sender = Sender(client, handover, self._emit, sending=self._sending, backoff=backoff)
            try:
                return await self._watch(capture, sender)
            finally:
                await asyncio.to_thread(capture.close)
                await asyncio.to_thread(self._outputs.close)
                for number in (signal.SIGINT, signal.SIGTERM):
                    self._loop.remove_signal_handler(number)
                if self._tally.frames:
                    self._console.print(summary(self._tally, capture, time.monotonic()))

    async def _watch(self, capture: Capture, sender: Sender) -> Ending:
        working = asyncio.create_task(sender.run())
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._stop, number, capture, sender, working)
        viewing = asyncio.create_task(View(self._console, self._source, self._tally, capture).run())
        guarding = asyncio.create_task(_guard(capture))
        capture.start()
        try:
            await asyncio.wait({working})
            return self._ending(working)
        finally:
            for task in (viewing, guarding, working):
                task.cancel()
            await asyncio.gather(viewing, guarding, working, return_exceptions=True)
            if sender.pending.let_go:
                logger.warning("%d answers could not be drawn: their pictures took too much memory",
                               sender.pending.let_go)  # fmt: skip

    def _stop(self, number: int, capture: Capture, sender: Sender, working: "asyncio.Task[None]") -> None:
        if self._signal is not None:
            logger.info("ending at once; once more kills")
            working.cancel()
            # Whatever holds the end of the run, such as a pipe that nobody reads, is not to hold the process.
            for each in (signal.SIGINT, signal.SIGTERM):
                self._loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)
            return
        self._signal = number
        logger.info("ending; once more ends at once")
        capture.stop()
        sender.stop()
        self._loop.call_later(LAST_S, working.cancel)

    def _ending(self, working: "asyncio.Task[None]") -> Ending:
        error = None if working.cancelled() else working.exception()
        answered = self._tally.answered > 0
        if self._signal is not None:
            # Nobody ends a camera otherwise; a file that was cut short is not done.
            return Ending(0 if self._source.live and answered else 128 + self._signal)
        if isinstance(error, BrokenPipeError):
            return Ending(128 + signal.SIGPIPE)
        if isinstance(error, SourceError | ClientError | OSError):
            return Ending(1, mask(str(error)))
        if error is not None:
            raise error
        return Ending(0) if answered else Ending(1, f"{self._source.name}: no frame of it was answered")

    async def _emit(self, event: Event) -> None:
        async with self._writing:
            self._note(event)
            # A file, an encoder or a pipe may take its time.
            await asyncio.to_thread(self._outputs.write, event)

    def _report(self, notice: Notice) -> None:
        """Called by the thread that reads the source."""
        self._outputs.write(notice)
        self._loop.call_soon_threadsafe(self._note, notice)

    def _note(self, event: Event) -> None:
        if isinstance(event, Notice):
            again = f"; next try in {event.retry_s:.1f} s" if event.retry_s is not None else ""
            level = logging.INFO if event.state == "open" else logging.WARNING
            logger.log(level, "%s %s: %s%s", event.of, event.state, event.detail, again)
        elif isinstance(event, Failed) and event.detail != self._tally.last_failure.partition(": ")[2]:
            logger.warning("frame %s failed: %s", event.shot.name, event.detail)
        self._tally.add(event, time.monotonic())


async def _guard(capture: Capture) -> None:
    """Gives up on a source that holds the thread which reads it, as pipes and drivers do without any time-out."""
    while True:
        left_s = capture.patience_s()
        if left_s <= 0:
            capture.give_up()
            return
        await asyncio.sleep(min(left_s, LONGEST_SLEEP_S))
