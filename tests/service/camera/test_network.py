"""Cameras on a network: RTSP and MJPEG over HTTP, lost, found again, silent, and with a password."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import simplejpeg

Start = Callable[..., Any]


@pytest.mark.parametrize("codec", ["h264", "jpeg"])
def test_a_camera_that_was_away_is_found_again(start: Start, rtsp_server: Callable[..., Any], codec: str):
    server = rtsp_server(codec)
    watching = start(f"rtsp://{server.address}", "--confidence", "0.7")
    first = watching.wait_for(3, type="result")
    assert {found["label"] for found in first[0]["detections"]} == {"red"}
    server.kill()
    watching.wait_for(type="source", state="lost")
    server.start()
    watching.wait_for(2, type="source", state="open")
    watching.wait_for(len(watching.lines(type="result")) + 3, type="result")
    assert watching.end() == 0
    sequences = [line["sequence"] for line in watching.lines(type="result")]
    assert sequences == sorted(set(sequences))
    assert "reconnects              source " in watching.err


def test_a_password_opens_the_camera_and_is_shown_nowhere(start: Start, rtsp_server: Callable[..., Any]):
    server = rtsp_server("jpeg", "me", "hush")
    watching = start(f"rtsp://me:hush@{server.address}")
    watching.wait_for(type="result")
    server.kill()
    watching.wait_for(2, type="source", state="lost")
    assert watching.end() == 0
    assert "***@" in watching.err
    assert "hush" not in watching.err + watching.jsonl.read_text()


def test_a_wrong_password_ends_the_run_at_once(start: Start, rtsp_server: Callable[..., Any]):
    server = rtsp_server("jpeg", "me", "hush")
    watching = start(f"rtsp://me:wrong@{server.address}")
    assert watching.process.wait(60) == 1
    assert "401 Unauthorized" in watching.err
    assert "wrong" not in watching.err


def test_a_camera_that_is_not_there_yet_is_waited_for(start: Start, rtsp_server: Callable[..., Any]):
    server = rtsp_server("jpeg")
    server.kill()
    watching = start(f"rtsp://{server.address}")
    watching.wait_for(type="source", state="lost")
    server.start()
    watching.wait_for(type="result")
    assert watching.end() == 0


def test_a_camera_that_is_away_for_too_long_is_given_up(start: Start):
    watching = start("rtsp://127.0.0.1:1/live", "--give-up", "0.1")
    assert watching.process.wait(60) == 1
    assert "Connection refused; gave up after" in watching.err


def damaged(picture: bytes) -> bytes:
    """A JPEG in which one bit of its head, of how colours are sampled, has fallen over."""
    at = picture.index(b"\xff\xc0") + 11
    return picture[:at] + bytes([picture[at] ^ 0x10]) + picture[at + 1 :]


class MjpegCamera:
    """An HTTP server of multipart/x-mixed-replace, as cameras have it: sends `picture` again and again.

    Where `silent` is set it keeps the connection and sends nothing; `hang_up` ends those that there are.
    """

    def __init__(self, picture: bytes) -> None:
        self.silent = threading.Event()
        self._picture = self._sent = picture
        self._hang_up = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                hung_up = camera._hang_up
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
                while not hung_up.wait(0.02):
                    if not camera.silent.is_set():
                        self.wfile.write(head + camera._sent + b"\r\n")

            def log_message(self, *_: object) -> None: ...

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_port}/video"

    def damage(self) -> None:
        """From now on the pictures say of themselves what no decoder has."""
        self._sent = damaged(self._picture)

    def repair(self) -> None:
        self._sent = self._picture

    def hang_up(self) -> None:
        before, self._hang_up = self._hang_up, threading.Event()
        before.set()

    def stop(self) -> None:
        self.hang_up()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def mjpeg(scene: Callable[[int], Any]) -> Iterator[MjpegCamera]:
    camera = MjpegCamera(simplejpeg.encode_jpeg(scene(0)))
    yield camera
    camera.stop()


def test_mjpeg_over_http(start: Start, mjpeg: MjpegCamera):
    watching = start(f"http://me:hush@{mjpeg.address}?token=hush", "--confidence", "0.7")
    first = watching.wait_for(type="result")[0]
    assert {found["box"]["x1"] for found in first["detections"]} == {0, 8}
    mjpeg.hang_up()
    lost = watching.wait_for(type="source", state="lost")[0]
    watching.wait_for(2, type="source", state="open")
    watching.wait_for(len(watching.lines(type="result")) + 3, type="result")
    assert watching.end(signal.SIGTERM) == 0
    assert lost["detail"].startswith(f"http://***@{mjpeg.address}?***: ")
    assert "hush" not in watching.err + watching.jsonl.read_text()


def test_a_camera_that_goes_silent_is_noticed(start: Start, mjpeg: MjpegCamera):
    watching = start(f"http://{mjpeg.address}", "--read-timeout", "0.5", "--open-timeout", "5")
    watching.wait_for(type="result")
    mjpeg.silent.set()
    lost = watching.wait_for(type="source", state="lost")[0]
    assert "nothing came in time" in lost["detail"]
    mjpeg.silent.clear()
    watching.wait_for(2, type="source", state="open")
    assert watching.end() == 0


def test_a_camera_that_sends_nothing_but_damage_is_lost(start: Start, mjpeg: MjpegCamera):
    watching = start(f"http://{mjpeg.address}", "--read-timeout", "0.3", "--open-timeout", "10")
    watching.wait_for(type="result")
    mjpeg.damage()
    lost = watching.wait_for(type="source", state="lost")[0]
    assert "nothing that can be decoded" in lost["detail"]
    mjpeg.repair()
    watching.wait_for(2, type="source", state="open")
    assert watching.end() == 0


def test_a_camera_that_accepts_and_never_answers_is_noticed(start: Start):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        watching = start(f"http://127.0.0.1:{mute.getsockname()[1]}/", "--open-timeout", "0.3")
        assert "nothing came in time" in watching.wait_for(type="source", state="lost")[0]["detail"]
        watching.end()
