"""An H.264 video of the frames that were answered, each with its own boxes, at the times they have in the source.

A frame that was dropped is not in it: no frame is ever shown with the boxes of another. The video plays at the speed of
the source all the same, since each frame stays until the next. One that failed is shown bare. There is no sound.
What is written can be played at any time, even if the process is killed: it is a sequence of fragments, which only the
end turns into an ordinary file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from service.camera.drawing import draw_answer
from service.camera.events import Answered, Event, Failed
from service.camera.shot import Pixels, Shot
from service.vision.image import ImageError
from service.vision.letterbox import Letterbox

FRAGMENTED = {"movflags": "hybrid_fragmented+frag_keyframe", "flush_packets": "1"}
TIME_BASE = Fraction(1, 90_000)
DEFAULT_RATE = Fraction(25)
# What is lost of a video whose writer is killed: the frames since the last key frame.
KEY_FRAME_S = 2


class Mp4:
    """The first frame decides on the size; later ones of another are fitted in. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Opened here, so that a path that cannot be written is found before the first frame.
        self._file = path.open("wb", buffering=0)
        self._container = av.open(self._file, "w", format="mp4", options=FRAGMENTED)
        self._stream: Any = None
        self._size_hw = (0, 0)
        self._first_s = 0.0
        self._last_pts = -1

    def write(self, event: Event) -> None:
        """Encodes a frame."""
        if isinstance(event, Answered):
            picture = draw_answer(event)
        elif isinstance(event, Failed):
            picture = _bare(event.shot)
        else:
            return
        if picture is not None:
            with self._one_line():
                self._encode(picture, event.shot)

    def close(self) -> None:
        """Encodes what the encoder still holds. Without a single frame the file has none, and is taken away."""
        with self._file, self._one_line():
            if self._last_pts >= 0:
                self._container.mux(self._stream.encode(None))
            self._container.close()
        if self._last_pts < 0:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except FFmpegError as exc:  # of which not all are OSErrors
            raise OSError(f"{self._path}: the video cannot be encoded: {exc.strerror}") from exc

    def _encode(self, picture: Pixels, shot: Shot) -> None:
        if self._stream is None:
            self._begin(picture, shot)
        # H.264 halves the resolution of colour, so an odd last row or column has none.
        if picture.shape[:2] != self._size_hw:
            picture = _fitted(picture, self._size_hw)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        # Two frames of one instant, as clocks have it, are told apart all the same.
        frame.pts = max(round((shot.time_s - self._first_s) / TIME_BASE), self._last_pts + 1)
        frame.time_base = TIME_BASE
        self._container.mux(self._stream.encode(frame))
        self._last_pts = frame.pts

    def _begin(self, picture: Pixels, shot: Shot) -> None:
        rate = shot.rate or DEFAULT_RATE
        height, width = (max(2, side // 2 * 2) for side in picture.shape[:2])
        # Frames that refer to later ones would put the start of a fragmented video behind zero.
        options = {"preset": "veryfast", "crf": "23", "bf": "0"}
        stream: Any = self._container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.gop_size = max(1, round(rate * KEY_FRAME_S))
        self._stream, self._size_hw, self._first_s = stream, (height, width), shot.time_s


def _bare(shot: Shot) -> Pixels | None:
    """The frame as it is; None where it failed because it is no picture."""
    try:
        return shot.picture.pixels() if shot.picture is not None else None
    except ImageError:
        return None


def _fitted(picture: Pixels, size_hw: tuple[int, int]) -> Pixels:
    height, width = picture.shape[:2]
    if height - size_hw[0] in (0, 1) and width - size_hw[1] in (0, 1):
        return picture[: size_hw[0], : size_hw[1]]
    return Letterbox.fit((height, width), size_hw).apply(picture)
