"""The real server in a process of its own, on a real socket: start, odd clients, and SIGTERM under work."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from service.app import Service
from service.settings import Settings

Start = Callable[..., "Running"]


class Running:
    """A server process. `port` is the free one that it took."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = self._await_port()

    def _await_port(self) -> int:
        for _ in range(300):
            found = re.search(r"running on http://127\.0\.0\.1:(\d+)", self.log.read_text())
            if found:
                return int(found[1])
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

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
def start(blocks_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    folder = tmp_path_factory.mktemp("servers")
    processes: list[subprocess.Popen[bytes]] = []

    def start(**settings: object) -> Running:
        log = folder / f"{len(processes)}.log"
        given = {"model_repository": blocks_repository, "default_model": "blocks", "port": 0} | settings
        given["openvino_cache_dir"] = folder / "openvino"
        flags = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        with log.open("wb") as file:
            command = [sys.executable, "-m", "service", "serve", *flags]
            processes.append(subprocess.Popen(command, stdout=file, stderr=file))
        return Running(processes[-1], log)

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(start: Start) -> Running:
    return start(max_body_bytes=200_000, body_timeout_s=0.5)


def post_head(length: int, *extra: str) -> bytes:
    lines = ("POST /v1/detect HTTP/1.1", "Host: x", "Content-Type: image/png", f"Content-Length: {length}", *extra)
    return "\r\n".join((*lines, "", "")).encode()


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


def test_a_photo_is_detected_over_a_socket(server: Running, png: bytes):
    status, body = server.request("POST", "/v1/detect", png, content_type="image/png")
    assert (status, len(json.loads(body)["detections"])) == (200, 2)
    assert server.request("GET", "/readyz")[0] == 200


def test_a_long_body_is_refused_without_being_asked_for(server: Running):
    with server.open() as connection:
        connection.sendall(post_head(5_000_000, "Expect: 100-continue"))
        assert read_answer(connection)[0] == 413


def test_a_long_body_that_comes_anyway_still_gets_its_answer(server: Running):
    with server.open() as connection:
        connection.sendall(post_head(5_000_000))
        connection.sendall(bytes(5_000_000))
        status, body = read_answer(connection)
        assert (status, json.loads(body)["status"]) == (413, 413)
        assert connection.recv(1) == b""


def test_a_body_of_unannounced_length_is_cut_off(server: Running):
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    head = post_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with server.open() as connection:
        connection.sendall(head + chunk * 20 + b"0\r\n\r\n")
        assert read_answer(connection)[0] == 413


def test_a_slow_body_is_cut_off(server: Running, png: bytes):
    with server.open() as connection:
        connection.sendall(post_head(len(png)) + png[:50])
        assert read_answer(connection)[0] == 408


def test_a_client_that_leaves_is_noticed_and_harms_no_one(server: Running, png: bytes):
    with server.open() as connection:
        connection.sendall(post_head(len(png)) + png[:50])
    server.await_log("/v1/detect 499")
    assert server.request("POST", "/v1/detect", png, content_type="image/png")[0] == 200


def test_nonsense_instead_of_http_harms_no_one(server: Running):
    with server.open() as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert server.request("GET", "/livez")[0] == 200


def test_sigterm_finishes_what_was_accepted_and_ends_well(start: Start, png: bytes):
    server = start()
    with server.open() as connection:
        connection.sendall(post_head(len(png)) + png[:50])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        server.await_log("Shutting down")
        with pytest.raises(ConnectionRefusedError):
            server.open()
        connection.sendall(png[50:])
        status, body = read_answer(connection)
    assert (status, len(json.loads(body)["detections"])) == (200, 2)
    assert server.process.wait(60) == 0
    server.await_log("closed")


def test_what_a_drain_cannot_finish_in_time_is_503(start: Start, png: bytes):
    server = start(drain_timeout_s=1)
    with server.open() as connection:
        connection.sendall(post_head(len(png)) + png[:50])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        status, body = read_answer(connection)
    assert (status, json.loads(body)["type"]) == (503, "urn:yolov7-service:problem:draining")
    assert server.process.wait(60) == 0
    server.await_log("closed")
    assert "Traceback" not in server.log.read_text()


def test_a_second_signal_ends_the_wait_before_the_door_closes(start: Start):
    server = start(drain_delay_s=600)
    server.process.send_signal(signal.SIGTERM)
    # Two signals that wait at the same time would be delivered as one.
    while server.request("GET", "/readyz")[0] == 200:
        time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0


def test_a_port_that_is_taken_is_said_and_ends_badly(server: Running, start: Start):
    with pytest.raises(AssertionError, match="address already in use"):
        start(port=server.port)


def test_opencv_adds_no_threads_of_its_own(make_settings: Callable[..., Settings]):
    cv2.setNumThreads(2)
    Service(make_settings())
    assert cv2.getNumThreads() == 1


def test_before_the_door_closes_the_service_says_so_and_goes_on(start: Start, png: bytes):
    server = start(drain_delay_s=1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert server.request("GET", "/readyz")[0] == 503
    assert server.request("POST", "/v1/detect", png, content_type="image/png")[0] == 200
    assert server.process.wait(60) == 0
