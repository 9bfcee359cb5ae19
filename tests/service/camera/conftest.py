"""A real service in a process of its own, real sources for it, and the command in this process or in another."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from service.__main__ import main

WAIT_S = 60
TYPELIB = "*/girepository-1.0/GstRtspServer-1.0.typelib"
RED = np.array([255, 0, 0], np.uint8)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Gateway:
    """`yolov7-service serve` on two ports that stay its own from one start to the next."""

    def __init__(self, repository: Path, folder: Path, model: str) -> None:
        self._ports = free_port(), free_port()
        self._log = folder / "log"
        self._command = [sys.executable, "-m", "service", "serve", "--default-model", model]
        self._command += [
            "--model-repository",
            str(repository),
            "--openvino-cache-dir",
            str(folder),
            "--precision",
            "f32",
        ]
        self._command += ["--port", str(self._ports[0]), "--grpc-port", str(self._ports[1])]
        self.flags = ("--url", f"http://127.0.0.1:{self._ports[0]}", "--grpc", f"127.0.0.1:{self._ports[1]}")
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait(self._ready)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(how)
        self._process.wait(WAIT_S)

    def _ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self.flags[1]}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


def wait(holds: Callable[[], Any]) -> Any:
    """What it gives, once that is true."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if held := holds():
            return held
        time.sleep(0.02)
    raise AssertionError("it never came to hold")


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Waits until a condition holds: (condition)."""
    return wait


@pytest.fixture(scope="session")
def gateway(blocks_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Serves the block finder to all tests."""
    gateway = Gateway(blocks_repository, tmp_path_factory.mktemp("gateway"), "blocks")
    yield gateway
    gateway.end()


@pytest.fixture
def make_gateway(blocks_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Gateway]]:
    """One of the test's own: (repository=, model=)."""
    gateways: list[Gateway] = []

    def make(repository: Path = blocks_repository, model: str = "blocks") -> Gateway:
        gateways.append(Gateway(repository, tmp_path_factory.mktemp("gateway"), model))
        return gateways[-1]

    yield make
    for gateway in gateways:
        gateway.end(signal.SIGKILL)


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str


@pytest.fixture
def watch(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Finished]]:
    """Runs `yolov7-service camera` here, in an empty folder, to its end: (source, flags)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def watch(*arguments: object) -> Finished:
        root.handlers[:] = []
        monkeypatch.setattr("sys.argv", ["yolov7-service", "camera", *gateway.flags, *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return Finished(1 if isinstance(code, str) else code, out, err + (code if isinstance(code, str) else ""))

    yield watch
    root.handlers[:], root.level = handlers, level


class Watching:
    """The command in a process of its own, which tells what happens by its JSON lines."""

    def __init__(self, folder: Path, arguments: Sequence[object], stdin: Any = None) -> None:
        self.jsonl = folder / "lines.jsonl"
        self._err = folder / "stderr"
        command = [sys.executable, "-m", "service", "camera", "--jsonl", str(self.jsonl), *map(str, arguments)]
        with self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdin=stdin, stdout=err, stderr=err)

    @property
    def err(self) -> str:
        return self._err.read_text()

    def lines(self, **fields: object) -> list[dict[str, Any]]:
        """Those that there are already, with these values."""
        if not self.jsonl.exists():
            return []
        whole = self.jsonl.read_text().splitlines(keepends=True)
        lines = [json.loads(line) for line in whole if line.endswith("\n")]
        return [line for line in lines if fields.items() <= line.items()]

    def wait_started(self) -> None:
        """Until its outputs are open."""
        wait(self.jsonl.exists)

    def wait_for(self, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """Until there are so many lines with these values."""

        def holds() -> list[dict[str, Any]]:
            lines = self.lines(**fields)
            assert len(lines) >= count or self.process.poll() is None, self.err
            return lines if len(lines) >= count else []

        return wait(holds)

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(WAIT_S)


@pytest.fixture
def start(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Watching]]:
    """Starts `yolov7-service camera`: (source, flags, stdin=, gateway=)."""
    started: list[Watching] = []

    def start(*arguments: object, stdin: Any = None, at: Gateway = gateway) -> Watching:
        started.append(Watching(tmp_path_factory.mktemp("watching"), [*at.flags, *arguments], stdin))
        return started[-1]

    yield start
    for watching in started:
        watching.process.kill()
        watching.process.communicate()


@pytest.fixture(scope="session")
def scene() -> Callable[[int], NDArray[np.uint8]]:
    """Frame i of a scene: (128, 128, 3) black, with a red 16 x 16 block that moves to the right."""

    def scene(index: int) -> NDArray[np.uint8]:
        image = np.zeros((128, 128, 3), np.uint8)
        left = 16 * (index % 8)
        image[64:80, left : left + 16] = RED
        return image

    return scene


@pytest.fixture(scope="session")
def write_clip(scene: Callable[[int], NDArray[np.uint8]]) -> Callable[..., Path]:
    """Writes a clip of the scene at 10 frames a second: (path, frames=)."""

    def write(path: Path, frames: int = 20) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
            stream.width = stream.height = 128
            stream.pix_fmt = "yuv420p"
            for index in range(frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(index), format="rgb24")))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def clip(write_clip: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of the scene as MP4."""
    return write_clip(tmp_path_factory.mktemp("clips") / "scene.mp4")


@pytest.fixture(scope="session")
def read_lines() -> Callable[..., list[dict[str, Any]]]:
    """The JSON lines of a file, with these values: (path, fields)."""

    def read(path: Path, **fields: object) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if fields.items() <= line.items()]

    return read


@pytest.fixture(scope="session")
def play() -> Callable[[Path], list[NDArray[np.uint8]]]:
    """The frames of a video: (path)."""

    def play(path: Path) -> list[NDArray[np.uint8]]:
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    return play


class RtspServer:
    """gst-rtsp-server in a process of its own, on one port from start to start. `url` without credentials."""

    def __init__(self, codec: str, credentials: Sequence[str]) -> None:
        self._arguments = [codec, *credentials]
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}/live"
        self.start()

    def start(self) -> None:
        script = Path(__file__).with_name("rtsp_server.py")
        command = ["/usr/bin/python3", str(script), str(self._port), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self._process.stdout.readline()
        if not line:
            _, reason = self._process.communicate(timeout=WAIT_S)
            assert "No module named 'gi'" not in reason, "needs Debian's gstreamer1.0-rtsp, see .ci/run"
            raise AssertionError(reason)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=WAIT_S)


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., RtspServer]]:
    """Starts a camera: ("h264" or "jpeg", user, password). Skips where the machine has no RTSP server."""
    servers: list[RtspServer] = []

    def start(codec: str, *credentials: str) -> RtspServer:
        if not os.access("/usr/bin/python3", os.X_OK) or not list(Path("/usr/lib").glob(TYPELIB)):
            pytest.skip("needs gir1.2-gst-rtsp-server-1.0 (apt)")
        servers.append(RtspServer(codec, credentials))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
