"""Server processes of the tests' own, on real sockets."""

import http.client
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest


class Running:
    """A server process. `port` is the free one that it took."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = self._await_port()

    def _await_port(self) -> int:
        for _ in range(300):
            found = re.search(r"running on https?://127\.0\.0\.1:(\d+)", self.log.read_text())
            if found:
                return int(found[1])
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    @property
    def grpc_port(self) -> int:
        """Where gRPC listens."""
        found = re.search(r"gRPC running on 127\.0\.0\.1:(\d+)", self.log.read_text())
        assert found, self.log.read_text()
        return int(found[1])

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        status, data = answer.status, answer.read()
        connection.close()
        return status, data

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def await_log(self, text: str) -> None:
        for _ in range(600):
            if text in self.log.read_text():
                return
            time.sleep(0.05)
        raise AssertionError(f"{text!r} not in\n{self.log.read_text()}")


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory, end: Callable[..., None]) -> Iterator[Callable[..., Running]]:
    """Starts a process that says on which port it runs: (command); all are gone at the end."""
    folder = tmp_path_factory.mktemp("servers")
    processes: list[subprocess.Popen[bytes]] = []

    def launch(command: Sequence[str]) -> Running:
        log = folder / f"{len(processes)}.log"
        with log.open("wb") as file:
            processes.append(subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True))
        return Running(processes[-1], log)

    yield launch
    for process in processes:
        end(process)


@pytest.fixture(scope="module")
def command(blocks_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """The command line that serves the block finder: (settings)."""
    cache = tmp_path_factory.mktemp("openvino")

    def command(**settings: object) -> list[str]:
        given = {
            "model_repository": blocks_repository,
            "default_model": "blocks",
            "port": 0,
            "grpc_port": 0,
            "openvino_cache_dir": cache,
        } | settings
        flags = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        return [sys.executable, "-m", "service", "serve", *flags]

    return command


@pytest.fixture(scope="module")
def start(launch: Callable[..., Running], command: Callable[..., list[str]]) -> Callable[..., Running]:
    """Starts a real server: (settings)."""
    return lambda **settings: launch(command(**settings))
