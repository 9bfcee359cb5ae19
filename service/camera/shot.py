"""One frame of a source, and what it is sent as. A picture is decoded only where somebody needs its pixels."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from service.vision.image import decode

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Parcel:
    """What is sent: a file's bytes, or (H, W, 3) uint8 RGB. Boxes times `scale_xy` are in pixels of the source."""

    content: bytes | Pixels
    scale_xy: tuple[float, float] = (1.0, 1.0)


class Picture(Protocol):
    """A picture in the form in which its source gives it. Its methods take milliseconds."""

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""

    def pixels(self) -> Pixels:
        """(H, W, 3) uint8 RGB, upright. Raises ImageError where it cannot be decoded."""

    def pack(self, max_side: int | None) -> Parcel:
        """To be sent, its longer side no longer than `max_side`. Raises as `pixels` where it must be decoded."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A frame of a source.

    sequence: its number in the source, from 0, also counting those that were not taken. name: of its file, or the
    number. time_s: where it is in the video, or for a live source when it came, since the start. captured_at: seconds
    since 1970 where the source is live. read_at: the same on the monotonic clock, of every source. rate: the source's
    frames per second, None where it says nothing. picture: None once nobody needs it any more.
    """

    sequence: int
    name: str
    time_s: float
    captured_at: float | None
    read_at: float
    rate: Fraction | None
    picture: Picture | None


class VideoPicture:
    """A decoded frame of a video, still in the colours of its codec: half the memory of RGB."""

    def __init__(self, frame: VideoFrame) -> None:
        self._frame = frame
        # Quarter turns anticlockwise; telephones film lying down and say so.
        self._turns = round(frame.rotation / 90) % 4

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def pixels(self) -> Pixels:
        """See Picture."""
        return self._rgb(self._frame.height, self._frame.width)

    def pack(self, max_side: int | None) -> Parcel:
        """See Picture."""
        height, width = self._frame.height, self._frame.width
        fitted = _fit((height, width), max_side)
        if fitted == (height, width):
            return Parcel(self.pixels())
        small = self._rgb(*fitted)
        scale_xy = width / fitted[1], height / fitted[0]
        return Parcel(small, scale_xy[::-1] if self._turns % 2 else scale_xy)

    def _rgb(self, height: int, width: int) -> Pixels:
        pixels: Any = self._frame.to_ndarray(format="rgb24", width=width, height=height)
        return np.ascontiguousarray(np.rot90(pixels, self._turns)) if self._turns else pixels


class FilePicture:
    """A picture as a file. It is sent as it is, unless it is too large; what is no picture the service refuses."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return len(self._data)

    def pixels(self) -> Pixels:
        """See Picture."""
        return decode(self._data)

    def pack(self, max_side: int | None) -> Parcel:
        """See Picture."""
        if max_side is None:
            return Parcel(self._data)
        pixels = self.pixels()
        height, width = pixels.shape[:2]
        fitted = _fit((height, width), max_side)
        if fitted == (height, width):
            return Parcel(self._data)
        small = cv2.resize(pixels, fitted[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        return Parcel(small, (width / fitted[1], height / fitted[0]))


def _fit(size_hw: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    longest = max(size_hw)
    if max_side is None or longest <= max_side:
        return size_hw
    height, width = (max(1, round(side * max_side / longest)) for side in size_hw)
    return height, width
