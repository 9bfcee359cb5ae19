"""SIGTERM and Ctrl-C while training: the state is kept where it is, then the run ends.

The first signal is a request that the loop reads between two steps; a second Ctrl-C ends the run at once, as if there
were nothing to keep. Only the main thread can be told by signals; anywhere else nothing is installed.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):  # nothing went wrong
    """A signal ended the run, which its folder keeps; the message says where it goes on."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.status = 128 + number  # what a shell reports of a process that a signal ended


class StopRequest:
    """Whether a signal has asked this process to stop. A context: outside of it signals do what they did before."""

    def __init__(self) -> None:
        self.number = 0  # of the signal; 0: none came
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
