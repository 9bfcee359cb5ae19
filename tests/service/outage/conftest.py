"""A gateway in a process of its own, and clients that post to it without a pause and keep a record of each answer."""

import contextlib
import http.client
import itertools
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DEADLINE_S = 2.0


@dataclass(slots=True)
class Record:
    """What the clients saw: status (0: no answer, and why), seconds, and whether a 200 said what it should."""

    answers: list[tuple[int, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def statuses(self) -> set[int]:
        return {status for status, _ in self.answers}

    def count(self, status: int) -> int:
        return sum(found == status for found, _ in self.answers)

    def check(self, *allowed: int) -> None:
        """Every request got one answer, an allowed one, right, and no later than its deadline plus the way back."""
        assert not self.wrong, self.wrong[:3]
        assert self.statuses() <= set(allowed), {status: self.count(status) for status in self.statuses()}
        assert max(seconds for _, seconds in self.answers) < DEADLINE_S + 1.0


def ask(connection: socket.socket, length: int) -> bytes:
    """What the server says to the head of a request; nothing where it has closed the door."""
    head = f"Content-Type: image/png\r\nContent-Length: {length}\r\nExpect: 100-continue\r\nConnection: close"
    try:
        connection.sendall(f"POST /v1/detect HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        return connection.recv(12, socket.MSG_PEEK)
    except ConnectionError:
        return b""


class Gateway:
    """`port` is the free one that it took."""

    def __init__(self, flags: dict[str, object], log: Path) -> None:
        self.log = log
        given = [text for name, value in flags.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        with log.open("wb") as file:
            command = [sys.executable, "-m", "service", "serve", "--port", "0", "--grpc-port", "0", *given]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        self.port = self._await_port()

    def _await_port(self) -> int:
        for _ in range(600):
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log.read_text()):
                return int(found[1])
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def await_ready(self, wanted: bool = True) -> None:
        for _ in range(300):
            if self.ready() == wanted:
                return
            time.sleep(0.1)
        raise AssertionError(f"ready never was {wanted}:\n{self.log.read_text()[-3000:]}")

    @contextmanager
    def load(self, png: bytes, *, clients: int = 4) -> Iterator[Record]:
        """Posts distinct images all the while; afterwards the record is complete."""
        record, stop = Record(), threading.Event()
        numbers = itertools.count()
        threads = [threading.Thread(target=self._post, args=(png, numbers, record, stop)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield record
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def post_until_shut(self, png: bytes, statuses: list[int]) -> None:
        """Posts one picture after another, each on a connection of its own, until nobody is there any more.

        A body is sent when it has been asked for: what the server has not taken up may find the door closed, and
        whatever it has must get one answer, whose status is kept.
        """
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            except ConnectionError:
                return
            with connection:
                said = ask(connection, len(png))
                if not said:
                    return
                if said.startswith(b"HTTP/1.1 100"):
                    connection.sendall(png)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                answer.read()
                statuses.append(answer.status)
                assert connection.recv(1) == b"", "a second answer"

    def _post(self, png: bytes, numbers: Iterator[int], record: Record, stop: threading.Event) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            while not stop.is_set():
                try:
                    status = self._post_once(connection, png + str(next(numbers)).encode(), record)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    record.wrong.append(repr(error))
                    return
                if status != 200:
                    time.sleep(0.02)

    def _post_once(self, connection: http.client.HTTPConnection, data: bytes, record: Record) -> int:
        """Bytes behind the end of a PNG change nothing but the cache's key."""
        headers = {"Content-Type": "image/png", "X-Request-Timeout-Ms": str(int(DEADLINE_S * 1000))}
        started = time.monotonic()
        connection.request("POST", "/v1/detect", data, headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        record.answers.append((answer.status, time.monotonic() - started))
        if answer.status == 200 and len(body["detections"]) != 2:
            record.wrong.append(str(body))
        return answer.status


@pytest.fixture
def gateway(tmp_path: Path, end: Callable[..., None]) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways; flags are settings."""
    gateways: list[Gateway] = []

    def start(**flags: object) -> Gateway:
        defaults: dict[str, object] = {"default_model": "blocks", "openvino_cache_dir": tmp_path / "openvino"}
        gateways.append(Gateway(defaults | flags, tmp_path / f"{len(gateways)}.log"))
        return gateways[-1]

    yield start
    for each in gateways:
        end(each.process)
