"""A real tritonserver without Docker, for the tests, the benchmarks and readers: `make triton` prepares it.

    .venv/bin/python deploy/triton/cpu_repository.py model_repository /tmp/cpu
    .venv/bin/python deploy/triton/tritonserver.py /tmp/cpu --load vehicles

The wheel nvidia-pytriton carries NVIDIA's own server with its python backend, which runs openvino_model.py on the CPU;
production runs NVIDIA's image instead. Only the standard library is used here, so that any script can import it.
"""

import argparse
import contextlib
import ctypes
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-triton"
HOST = "127.0.0.1"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
STUB = "triton_python_backend_stub"
# The stubs' memory: one segment a model, named so that it can be found after a kill.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps it


class ServerError(Exception):
    """The server cannot be started, or did not get ready; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Three free ones, unless they are given."""

    grpc: int
    http: int
    metrics: int

    @classmethod
    def free(cls) -> "Ports":
        """Ports that were free a moment ago."""
        sockets = [socket.create_server((HOST, 0)) for _ in range(3)]
        try:
            return cls(*(each.getsockname()[1] for each in sockets))
        finally:
            for each in sockets:
                each.close()


class TritonServer:
    """One server and its stubs, in a process group of their own, on ports that it keeps over restarts.

    It runs with explicit model control: only `load` and what clients ask for is loaded. `log` gets all it says.
    """

    def __init__(
        self, repository: Path, *, load: Sequence[str] = (), log: Path | None = None, ports: Ports | None = None
    ):
        self.repository = repository
        self.ports = ports or Ports.free()
        self.log = log
        self._load = tuple(load)
        self._process: subprocess.Popen[bytes] | None = None
        self._prefix = f"tritonserver-{secrets.token_hex(4)}"

    @property
    def url(self) -> str:
        """Where it speaks gRPC."""
        return f"{HOST}:{self.ports.grpc}"

    @property
    def pid(self) -> int:
        """Of the server itself."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    def start(self) -> None:
        """Raises ServerError where something is missing. It answers only after `wait_ready`."""
        folder = server_folder()
        with open(self.log or os.devnull, "ab") as log:  # noqa: PTH123 - os.devnull is no Path
            self._process = subprocess.Popen(  # noqa: S603 - our own server
                self.command(folder), env=environment(), stdout=log, stderr=log, start_new_session=True
            )

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Until it takes requests. Raises ServerError after that time, or when it has ended."""
        until = time.monotonic() + timeout_s
        assert self._process is not None, "start() comes first"
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise ServerError(f"tritonserver did not get ready: {self._last_words()}")
            # Another process's port can only be tried.
            time.sleep(0.05)

    def stop(self, timeout_s: float = 8.0) -> None:
        """Asks it to end, then makes it; nothing of it is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the server and its stubs, as a crash would; `start` starts it anew."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for segment in SHARED_MEMORY.glob(f"{self._prefix}*"):
            segment.unlink(missing_ok=True)

    def send_signal(self, number: signal.Signals) -> None:
        """To the server alone: its stubs go on."""
        os.kill(self.pid, number)

    def stubs(self) -> list[int]:
        """Process ids of its python backend's stubs, one for each instance of a loaded model."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                pid, _, rest = stat.read_text().partition(" (")
            except (FileNotFoundError, ProcessLookupError):
                continue
            name, _, fields = rest.rpartition(") ")
            state, parent = fields.split()[:2]
            if int(parent) == self.pid and name == STUB[:15] and state != "Z":
                found.append(int(pid))
        return sorted(found)

    def command(self, folder: Path) -> list[str]:
        """The command line; `folder` is where the wheel put the server."""
        return [
            str(folder / "bin" / "tritonserver"),
            f"--model-repository={self.repository.absolute()}",
            f"--backend-directory={folder / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self._load),
            *(f"--{kind}-address={HOST}" for kind in ("http", "grpc", "metrics")),
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            "--allow-gpu-metrics=false",
            "--exit-timeout-secs=3",
        ]

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.ports.http, timeout=1.0)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log else "give it a log to see why"


def server_folder() -> Path:
    """Where the server is. Raises ServerError if it, its stub or libpython is missing."""
    folder = VENV / "lib" / f"python{PYTHON}" / "site-packages" / "pytriton" / "tritonserver"
    if not (folder / "backends" / "python" / STUB).is_file():
        raise ServerError(f"no tritonserver for Python {PYTHON} in {VENV}: `make triton` installs one")
    if libpython_folder() is None and not _system_has_libpython():
        raise ServerError(
            f"the python backend needs libpython{PYTHON}.so.1.0, which this Python was built without: "
            f"apt-get install libpython{PYTHON}"
        )
    return folder


def libpython_folder() -> Path | None:
    """Where this Python keeps its shared library, if it has one."""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "/nowhere")
    return folder if (folder / f"libpython{PYTHON}.so.1.0").is_file() else None


def environment() -> dict[str, str]:
    """Only PATH counts: the python backend takes the python3 that it finds there, and its packages."""
    folder = libpython_folder()
    library = {} if folder is None else {"LD_LIBRARY_PATH": str(folder)}
    return {"PATH": f"{VENV / 'bin'}:/usr/bin:/bin", **library}


def _system_has_libpython() -> bool:
    try:
        ctypes.CDLL(f"libpython{PYTHON}.so.1.0")
    except OSError:
        return False
    return True


def main() -> None:
    """Become a server in the foreground: signals reach it itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("repository", type=Path, help="written by cpu_repository.py")
    parser.add_argument("--load", action="append", default=[], metavar="NAME", help="model to load at the start")
    parser.add_argument("--grpc-port", type=int, default=8001)
    parser.add_argument("--http-port", type=int, default=8002)
    parser.add_argument("--metrics-port", type=int, default=8003)
    arguments = parser.parse_args()
    ports = Ports(arguments.grpc_port, arguments.http_port, arguments.metrics_port)
    try:
        command = TritonServer(arguments.repository, load=arguments.load, ports=ports).command(server_folder())
    except ServerError as error:
        parser.error(str(error))
    os.execve(command[0], command, environment())  # noqa: S606 - our own server


if __name__ == "__main__":
    main()
