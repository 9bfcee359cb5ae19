"""A server process on a free port: started, awaited, paused while others are measured, and ended with its children.

A paused server costs nothing, whatever it polls: every process of its group is stopped by SIGSTOP. Nothing here knows
what a server serves.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from load import HOST

ROOT = Path(__file__).resolve().parents[1]
PYTHON = Path(sys.executable)
PORT = "{port}"  # stands for the port in a command
_END_S = 20.0


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a server: ``{port}`` in the arguments is replaced. ``ready`` is the path that then answers 200.

    ``end_by_interrupt``: it cleans up on Ctrl-C only.
    """

    arguments: Sequence[str]
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 120.0
    end_by_interrupt: bool = False


class Server:
    """A context manager: running and ready inside, gone after it. Its output is kept and shown when it fails."""

    def __init__(self, command: Command) -> None:
        self.port = free_port()
        self._command = command
        self._log = tempfile.NamedTemporaryFile(prefix="bench-", suffix=".log")  # noqa: SIM115 - closed with the server

    def __enter__(self) -> Self:
        arguments = [part.replace(PORT, str(self.port)) for part in self._command.arguments]
        self._process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env={**os.environ, **self._command.environment},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._await_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Runs inside, paused after. A server is awake until the first use of this."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def output(self, characters: int = 2000) -> str:
        """The end of what it printed."""
        return Path(self._log.name).read_text(errors="replace")[-characters:]

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self._command.timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            if answers(self.port, self._command.ready):
                return
            time.sleep(0.1)
        state = "ended" if self._process.poll() is not None else "did not get ready"
        raise SystemExit(f"{' '.join(map(str, self._command.arguments[:4]))} … {state}:\n{self.output()}")

    def _end(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGINT if self._command.end_by_interrupt else signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        # Children that outlived it, or all of them.
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def answers(port: int, path: str) -> bool:
    """Whether ``GET path`` answers 200 now."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
