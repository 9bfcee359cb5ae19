"""The real server in a process of its own, on a real socket: start, odd clients, and SIGTERM under work."""

import http.client
import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import pytest

from service.app import Service
from service.settings import Settings

Running = Any
Start = Callable[..., Running]


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


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_who_sends_all_before_reading_gets_an_early_refusal(server: Running, version: bytes):
    head = post_head(5_000_000, "Connection: close").replace(b"image/png", b"text/plain")
    with server.open() as connection:
        connection.sendall(head.replace(b"HTTP/1.1", version))
        connection.sendall(bytes(5_000_000))
        assert read_answer(connection)[0] == 415
        assert connection.recv(1) == b""


def test_a_head_without_end_is_refused(server: Running):
    with server.open() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nName: " + b"x" * 1_000_000)
        status, body = read_answer(connection)
    assert (status, json.loads(body)["type"]) == (431, "urn:yolov7-service:problem:head-too-large")


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


def is_taken_up(connection: socket.socket, length: int) -> bool:
    """Whether the server asks for the body, or has an answer already; who is told nothing was not let in."""
    try:
        connection.sendall(post_head(length, "Expect: 100-continue", "Connection: close"))
        return connection.recv(1, socket.MSG_PEEK) != b""
    except ConnectionError:
        return False


def post_until_shut(server: Running, png: bytes, statuses: list[int]) -> None:
    """Posts one picture after another. Whatever was taken up must get one answer."""
    while True:
        try:
            connection = server.open()
        except ConnectionError:
            return
        with connection:
            if not is_taken_up(connection, len(png)):
                return
            connection.sendall(png)
            statuses.append(read_answer(connection)[0])
            assert connection.recv(1) == b"", "a second answer"


@pytest.mark.parametrize("drain_delay_s", [0, 0.3])
def test_sigterm_under_load_answers_whatever_was_taken_up(start: Start, png: bytes, drain_delay_s: float):
    server = start(drain_delay_s=drain_delay_s)
    statuses: list[list[int]] = [[] for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        posting = [threads.submit(post_until_shut, server, png, own) for own in statuses]
        while min(map(len, statuses)) < 5:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        for client in posting:
            client.result(timeout=30)
    assert server.process.wait(30) == 0
    given = [status for own in statuses for status in own]
    assert set(given) <= {200, 503}
    log = server.log.read_text()
    logged = [int(status) for status in re.findall(r"POST /v1/detect (\d+) ", log)]
    assert sorted(logged) == sorted(given)
    assert "closed" in log
    assert "Traceback" not in log


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


def start_and_signal(command: list[str], log: Path, sent: signal.Signals) -> int:
    """The exit status of a server that is signalled as soon as it starts its models."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        while "starting" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        process.send_signal(sent)
        return process.wait(60)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_models_are_loaded_ends_well(
    command: Callable[..., list[str]], tmp_path: Path, sent: signal.Signals
):
    log = tmp_path / "log"
    assert start_and_signal(command(openvino_cache_dir=tmp_path), log, sent) == 0
    lines = log.read_text()
    assert "ended before it had started" in lines
    assert "service.app.server closed" in lines
    assert "running on" not in lines
    assert "Traceback" not in lines


def test_no_peer_names_an_address_of_its_own(start: Start, png: bytes):
    server = start(anonymous_rate="1/hour")
    statuses = [
        server.request("POST", "/v1/detect", png, content_type="image/png", x_forwarded_for=f"10.0.0.{number}")[0]
        for number in range(2)
    ]
    assert statuses == [200, 429]


def test_a_port_that_is_taken_is_said_and_ends_badly(server: Running, start: Start):
    with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1 port {server.port}: Address already in use"):
        start(port=server.port)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"default_model": "cars"}, "no model 'cars' in .*; there is blocks"),
        ({"model_repository": "/nowhere"}, "no model 'blocks' in /nowhere; there is none at all"),
        ({"workers": 2}, "workers: the embedded engine runs in one process; more need engine triton"),
        ({"keys_file": "/nowhere/keys.toml"}, "/nowhere/keys.toml"),
        ({"rate": "many"}, "many"),
        ({"tls_certificate": "/nowhere", "tls_key": "/nowhere"}, "tls_certificate /nowhere .*: /nowhere: No such file"),
        ({"tls_certificate": "/nowhere"}, "it and tls_key are given together or not at all"),
        ({"host": "192.0.2.1"}, "cannot listen on 192.0.2.1 port 0: Cannot assign"),
        ({"host": "nowhere.invalid"}, "cannot listen on nowhere.invalid port 0: "),
        ({"max_batch_size": 0}, "--max-batch-size / YOLOV7_MAX_BATCH_SIZE: "),
    ],
)
def test_what_cannot_start_says_so_in_one_line(command: Callable[..., list[str]], settings: dict[str, Any], line: str):
    ended = subprocess.run(
        command(log_level="error", **settings), capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert re.fullmatch(f"yolov7-service: .*{line}.*\n", ended.stderr)


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
