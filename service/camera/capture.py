"""The thread that reads the source. It decides nothing about sending, and knows nothing of the service."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

from service.camera.backoff import Backoff
from service.camera.events import Notice
from service.camera.folder import Folder
from service.camera.handover import Handover
from service.camera.pace import Limit, Playing
from service.camera.shot import FilePicture, Picture, Shot, VideoPicture
from service.camera.source import Source, SourceError
from service.camera.tally import Speed
from service.camera.video import Video, VideoOptions

# In a folder time has no meaning but in a video made of it: one picture a second.
PICTURES_PER_S = Fraction(1)
# How long the end of a run waits for a thread that reads a camera; it may be in the midst of a time-out.
LEAVE_S = 2.0


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """fps: take no more than these. played: a file runs at its own speed. give_up_s: without a frame; None: never."""

    video: VideoOptions
    fps: float | None = None
    played: bool = False
    give_up_s: float | None = None


class Capture:
    """Reads `source` into `handover`; `report` is called by the thread. `total`: frames of the source, where known."""

    def __init__(
        self,
        source: Source,
        handover: Handover,
        report: Callable[[Notice], None],
        *,
        options: CaptureOptions,
        backoff: Backoff,
    ) -> None:
        self.total: int | None = None
        self.damaged = 0
        self.seen = 0
        self.speed = Speed()
        self._source = source
        self._handover = handover
        self._report = report
        self._options = options
        self._backoff = backoff
        self._limit = Limit(options.fps)
        self._playing = Playing() if options.played else None
        self._closing = threading.Event()
        self._began = time.monotonic()
        self._last_frame = self._began
        # Since when the source has held the thread; None while the thread is elsewhere.
        self._held_since: float | None = None
        # A pipe that nobody writes to holds the thread for ever: the process must be able to end all the same.
        self._thread = threading.Thread(target=self._run, name="yolov7-capture", daemon=True)

    def start(self) -> None:
        """Reads from now on. Call close in the end."""
        self._thread.start()

    def patience_s(self) -> float:
        """How much longer the source may hold the thread that reads; endless where it is never given up."""
        held_since, give_up_s = self._held_since, self._options.give_up_s
        if give_up_s is None:
            return math.inf
        if self._source.kind == "network":
            # It has a time-out of its own, and the thread then says better what was wrong.
            give_up_s += max(self._options.video.open_timeout_s, self._options.video.read_timeout_s)
        return give_up_s - (time.monotonic() - held_since if held_since is not None else 0.0)

    def give_up(self) -> None:
        """Ends the frames with an error, in place of the thread, which is left where it is."""
        self._closing.set()
        give_up_s = self._options.give_up_s
        self._handover.finish(SourceError(f"{self._source.name}: gave up after {give_up_s:g} s without a frame"))

    def stop(self) -> None:
        """Takes no further frame."""
        self._closing.set()
        self._handover.finish()

    def close(self) -> None:
        """Takes no further frame. Waits a moment; a thread that a camera holds is left to its time-out."""
        self.stop()
        self._thread.join(LEAVE_S)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - whoever takes the frames raises it
            self._handover.finish(error)
        else:
            self._handover.finish()
        finally:
            self._held_since = None

    def _read(self) -> None:
        """Until the source ends; a live one is opened again each time it does, or fails."""
        while not self._closing.is_set():
            self._held_since = time.monotonic()
            try:
                for shot in self._shots():
                    self._held_since = None
                    if not self._handover.put(shot):
                        return
                    self._held_since = time.monotonic()
                if not self._source.live:
                    return
                raise SourceError(f"{self._source.name}: it ended", passing=True)
            except SourceError as error:
                self._held_since = None
                pause_s = self._pause_s(error)
                self._tell(Notice("source", "lost", str(error), pause_s))
                if self._closing.wait(pause_s):
                    return

    def _pause_s(self, error: SourceError) -> float:
        """How long to wait before the next try. Raises the error where there is none."""
        hopeless = not error.passing and self.seen == 0
        if not self._source.live or hopeless:
            raise error
        late_s, give_up_s = time.monotonic() - self._last_frame, self._options.give_up_s
        if give_up_s is not None and late_s > give_up_s:
            raise SourceError(f"{error}; gave up after {late_s:.0f} s without a frame")
        return self._backoff.failed()

    def _shots(self) -> Iterator[Shot]:
        if self._source.kind in ("folder", "picture"):
            yield from self._files()
        else:
            yield from self._frames()

    def _files(self) -> Iterator[Shot]:
        folder = Folder(self._source)
        self.total = folder.total
        self._tell(Notice("source", "open", f"{folder.total} picture{'s' * (folder.total > 1)}"))
        rate = Fraction(self._options.fps).limit_denominator(1000) if self._options.fps else PICTURES_PER_S
        for index, (name, data) in enumerate(folder):
            self.seen += 1
            self.speed.add(time.monotonic())
            yield self._shot(index, name, float(index / rate), rate, FilePicture(data))

    def _frames(self) -> Iterator[Shot]:
        with closing(Video(self._source, self._options.video)) as video:
            self.total = video.total
            before = self.damaged
            for index, frame in enumerate(video):
                self._last_frame = self._held_since = time.monotonic()
                if index == 0:
                    self._backoff.worked()
                    self._tell(Notice("source", "open", f"{frame.width} x {frame.height} pixels"))
                self.damaged = before + video.damaged
                self.speed.add(time.monotonic())
                number, self.seen = self.seen, self.seen + 1
                live = self._source.live
                time_s = time.monotonic() - self._began if live else video.time_s(frame, index)
                if not self._limit.takes(time_s) or not self._due(time_s):
                    continue
                yield self._shot(number, str(number), time_s, video.rate, VideoPicture(frame))

    def _shot(self, number: int, name: str, time_s: float, rate: Fraction | None, picture: Picture) -> Shot:
        captured_at = time.time() if self._source.live else None
        return Shot(number, name, time_s, captured_at, time.monotonic(), rate, picture)

    def _due(self, time_s: float) -> bool:
        """Waits until a played file has come to the frame; False where the run ends before."""
        if self._playing is None or self._source.live:
            return True
        self._held_since = None
        wanted = not self._closing.wait(self._playing.wait_s(time_s, time.monotonic()))
        self._held_since = time.monotonic()
        return wanted

    def _tell(self, notice: Notice) -> None:
        # Of what happens to a thread that was left behind nobody wants to hear any more.
        if not self._closing.is_set():
            self._report(notice)
