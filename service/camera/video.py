"""Frames out of whatever PyAV reads: cameras on a network or a USB port, files, pipes. Comes back to nothing lost.

What libav says of a failure is told without the address it was given, which may hold a password.
"""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
from av.error import FFmpegError

from service.camera.source import Source, SourceError

# Frames are not held back, and not watched for longer than a second to find out how many there are in one.
LIVE = {"fflags": "nobuffer", "analyzeduration": "1000000"}
# Waiting cures none of these: the first attempt at a camera that fails so is the last.
LASTING = (
    av.error.FileNotFoundError,
    av.error.PermissionError,
    av.error.ProtocolNotFoundError,
    av.error.OptionNotFoundError,
    av.error.HTTPBadRequestError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
    av.error.HTTPNotFoundError,
)


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """`format`: the container's name, where libav does not find it out. `options`: libav's own, such as video_size."""

    rtsp_transport: str = "tcp"
    open_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


class Video:
    """An open video, to be read once and closed. Raises SourceError when it is made, and when it is read.

    rate: its frames per second, total: how many it has, both None where it does not say.
    """

    def __init__(self, source: Source, options: VideoOptions) -> None:
        self.damaged = 0
        self._source = source
        # Key frames may be further apart than a camera may be silent.
        self._longest_s = 3 * options.read_timeout_s
        try:
            self._container = _open(source, options)
        except (FFmpegError, OSError, ValueError) as exc:
            raise SourceError(f"{source.name}: {_reason(exc)}", passing=not isinstance(exc, LASTING)) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{source.name}: there is no video in it")
        self._stream = self._container.streams.video[0]
        # Threads by frames are faster, but hold back as many frames as there are threads.
        self._stream.thread_type = "SLICE" if source.live else "AUTO"
        self.rate: Fraction | None = self._stream.average_rate or self._stream.guessed_rate
        self.total = None if source.live else self._count()

    def __iter__(self) -> Iterator[av.VideoFrame]:
        """Its frames, until it ends. What cannot be decoded is counted in `damaged` and passed over.

        Raises SourceError also for a live one that sends nothing else for long: a new start may help.
        """
        decoded_at = time.monotonic()
        for packet in self._packets():
            frames = self._decode(packet)
            if frames:
                yield from frames
                decoded_at = time.monotonic()
            elif self._source.live and time.monotonic() - decoded_at > self._longest_s:
                raise SourceError(f"{self._source.name}: it sends nothing that can be decoded", passing=True)

    def time_s(self, frame: av.VideoFrame, index: int) -> float:
        """Where a frame is in the video; by its number where it has no time of its own."""
        if frame.pts is None:
            return index / float(self.rate or 25)
        start = self._stream.start_time
        return frame.time - (float(start * self._stream.time_base) if start and self._stream.time_base else 0.0)

    def close(self) -> None:
        """Lets go of the camera or the file."""
        self._container.close()

    def _decode(self, packet: Any) -> list[av.VideoFrame]:
        try:
            frames: list[av.VideoFrame] = packet.decode()
        except FFmpegError:
            # Whatever decoders say of what they are given: a bit that fell over may be a feature they do not have.
            self.damaged += 1
            return []
        return frames

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except (FFmpegError, OSError) as exc:
            raise SourceError(f"{self._source.name}: {_reason(exc)}", passing=True) from None

    def _count(self) -> int | None:
        frames, duration = int(self._stream.frames), self._container.duration
        if frames:
            return frames
        return round(duration / av.time_base * float(self.rate)) if duration and self.rate else None


def _open(source: Source, options: VideoOptions) -> Any:
    timeout = (options.open_timeout_s, options.read_timeout_s)
    given = dict(options.options)
    if source.kind == "pipe":
        # Without a buffer of Python's: its lock would be held by a thread that waits for the pipe, also at the end.
        pipe = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - a descriptor; the container reads it
        return av.open(pipe, format=options.format, options=given)
    if source.kind == "device":
        return av.open(source.location, format=options.format or "v4l2", options=given, timeout=timeout)
    if source.kind == "network":
        if source.location.startswith("rtsp"):
            given = {"rtsp_transport": options.rtsp_transport} | given
        if source.live:
            given = LIVE | given
        return av.open(source.location, format=options.format, options=given, timeout=timeout)
    return av.open(os.path.realpath(source.location), format=options.format, options=given)


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return "nothing came in time"
    if isinstance(error, OSError | FFmpegError):
        text = error.strerror
        return str(text) if text else type(error).__name__
    return str(error)
