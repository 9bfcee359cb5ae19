"""What is written of a run, as files that are whole whenever it ends.

Two threads write: of frames the one that is given their outcomes, of a lost camera the one that reads it.
"""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from service.camera.events import Event


class Output(Protocol):
    """One file or folder. Both raise OSError where it cannot be written."""

    def write(self, event: Event) -> None:
        """What an output has no use for it passes over."""

    def close(self) -> None:
        """Makes the file whole."""


class Outputs:
    """All outputs of a run as one. After the first close nothing is written any more."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = outputs
        self._lock = threading.Lock()
        self._closed = False

    def write(self, event: Event) -> None:
        """To each of them."""
        with self._lock:
            if not self._closed:
                for output in self._outputs:
                    output.write(event)

    def close(self) -> None:
        """All of them, also where one fails; the last error is raised."""
        with self._lock, ExitStack() as stack:
            if not self._closed:
                self._closed = True
                for output in self._outputs:
                    stack.callback(output.close)
