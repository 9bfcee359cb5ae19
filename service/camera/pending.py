"""The frames that are on their way, in their order, with what is needed once their answer comes.

Their pictures may be kept, to draw on them or to send them again. Where nothing else bounds how many there are, their
bytes are bounded: beyond that the oldest is let go, and its answer will be told without a picture.
"""

import time
from dataclasses import dataclass, replace

from service.camera.shot import Shot

MOST_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Sent:
    """`scale_xy` as of its Parcel; `at`: when it left, on the monotonic clock."""

    shot: Shot
    scale_xy: tuple[float, float]
    at: float


class Pending:
    """Frames without an outcome. most_bytes: of their pictures; None where each of them must be kept.

    `let_go` counts pictures that there was no room for.
    """

    def __init__(self, most_bytes: int | None = MOST_BYTES) -> None:
        self.let_go = 0
        self._most_bytes = most_bytes
        self._sent: dict[int, Sent] = {}
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._sent)

    def shots(self) -> list[Shot]:
        """The frames, in their order."""
        return [sent.shot for sent in self._sent.values()]

    def add(self, shot: Shot, scale_xy: tuple[float, float] = (1.0, 1.0)) -> None:
        """A frame; one that is there already is replaced."""
        self.take(shot.sequence)
        self._sent[shot.sequence] = Sent(shot, scale_xy, time.monotonic())
        self._held_bytes += _nbytes(shot)
        for sent in self._sent.values():
            if self._most_bytes is None or self._held_bytes <= self._most_bytes or sent.shot is shot:
                break
            if sent.shot.picture is not None:
                self._held_bytes -= _nbytes(sent.shot)
                sent.shot = replace(sent.shot, picture=None)
                self.let_go += 1

    def take(self, sequence: int) -> Sent | None:
        """The frame of that number, which has its outcome now."""
        sent = self._sent.pop(sequence, None)
        if sent is not None:
            self._held_bytes -= _nbytes(sent.shot)
        return sent

    def drop(self, first: int, last: int) -> None:
        """The frames from one number to another have had their outcome."""
        for sequence in [number for number in self._sent if first <= number <= last]:
            self.take(sequence)

    def waited_s(self) -> float:
        """How long the oldest has been on its way; 0 where there is none."""
        oldest = next(iter(self._sent.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.at


def _nbytes(shot: Shot) -> int:
    return 0 if shot.picture is None else shot.picture.nbytes
