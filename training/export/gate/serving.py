"""``yolov7-service serve`` on a staging repository, for as long as somebody asks it something.

It is a process of its own, started by its command: what is measured is what will serve. Nothing is known here of what
is asked.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from training.evaluate import Endpoint, EndpointError
from training.export.session import ExportError

START_S = 600.0  # the largest variants compile for minutes
STOP_S = 40.0  # longer than the service drains
_DIED_S = 2.0
_RUNNING = re.compile(r"running on (http://\S+)")
# The user's own pictures may be larger than what strangers may send; the parent takes as much.
_LIMITS = {"max_pixels": str(200_000_000), "max_body_bytes": str(1 << 30)}


@contextmanager
def serving(repository: Path, model: str, settings: Mapping[str, str]) -> Iterator[Endpoint]:
    """Yield the address of a service that has ``model`` loaded; it ends with the block, or with this process.

    Raises ExportError with the service's last words if it does not start, or ends while it is asked.
    """
    given = {
        "host": "127.0.0.1",
        "port": "0",
        "grpc": "false",
        "model_repository": str(repository.absolute()),
        "default_model": model,
        "cache_memory_bytes": "0",
        **_LIMITS,
        **settings,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    # What the environment sets is meant for the service that serves, keys and limits among it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("YOLOV7_")}
    command = [*_dies_with_us(), sys.executable, "-m", "service", "serve", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True, errors="replace")  # noqa: S603
    log = _Log(process)
    try:
        yield Endpoint(log.url(START_S))
    except EndpointError as exc:
        if (status := _status(process, _DIED_S)) is None:
            raise
        raise ExportError(f"the service ended amid it, {_ending(status)}; its last words: {log.last}") from exc
    finally:
        _end(process)
        log.close()


def _dies_with_us() -> list[str]:
    """A killed promote stops nobody: without this its service would go on for ever. Debian always has the command."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


class _Log:
    """What a service says: read to the end, or it would stop at a full pipe. The last line is kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.last = "it said nothing"
        self._lines = process.stderr
        self._url = ""
        self._ended = False
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def url(self, seconds: float) -> str:
        """Wait until it runs; return where. Raises ExportError."""
        with self._said:
            told = self._said.wait_for(lambda: self._url or self._ended, seconds)
        if self._url:
            return self._url
        if told:
            raise ExportError(self.last.removeprefix("yolov7-service: "))
        raise ExportError(f"the service did not start in {seconds:.0f} s; its last words: {self.last}")

    def close(self) -> None:
        """Once the process has ended. A child of it that holds the pipe open is not waited for without end."""
        self._reader.join(STOP_S)
        if not self._reader.is_alive():
            self._lines.close()

    def _read(self) -> None:
        for line in self._lines:
            with self._said:
                self.last = line.strip() or self.last
                if found := _RUNNING.search(line):
                    self._url = found[1]
                self._said.notify_all()
        with self._said:
            self._ended = True
            self._said.notify_all()


def _status(process: subprocess.Popen[str], seconds: float) -> int | None:
    """Its exit status, once it has ended; None if it has not by then."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _ending(status: int) -> str:
    return f"status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        _status(process, STOP_S)
    finally:  # a second Ctrl-C does not leave it either
        process.kill()
        process.wait()
