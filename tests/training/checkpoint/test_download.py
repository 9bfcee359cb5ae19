"""Downloads against a server of our own: complete, resumed, broken, wrong."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from training.checkpoint import CheckpointError
from training.checkpoint.download import OFFICIAL_FILES, KnownFile, download

CONTENT = bytes(range(256)) * 4000


class Server(ThreadingHTTPServer):
    """Serves CONTENT under one name; ``cut`` makes it break off, ``ranges`` says whether it resumes."""

    cut: int | None = None
    ranges = True
    requests: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append(wanted)
        if self.path != "/v0.1/yolov7x.pt":
            self.send_error(404)
            return
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "") if self.server.ranges else None
        start = int(match[1]) if match else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if match else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server: Server, folder: Path, name: str = "yolov7x") -> Path:
    return download(name, folder, base_url=f"http://127.0.0.1:{server.server_port}/v0.1")


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    path = fetch(server, tmp_path / "new")
    assert path == tmp_path / "new" / "yolov7x.pt"
    assert path.read_bytes() == CONTENT
    assert fetch(server, tmp_path / "new") == path
    assert server.requests == [None]
    assert [entry.name for entry in path.parent.iterdir()] == ["yolov7x.pt"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_is_resumed(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cut, server.ranges = 300_000, ranges
    with pytest.raises(CheckpointError, match="call again to resume"):
        fetch(server, tmp_path)
    assert not (tmp_path / "yolov7x.pt").exists()
    server.cut = None
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


def test_a_complete_part_that_was_never_moved_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "yolov7x.pt.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_wrong_hash_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OFFICIAL_FILES, "yolov7x", KnownFile(len(CONTENT), "0" * 64))
    with pytest.raises(CheckpointError, match="not the official"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_already_there_is_checked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownFile(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(OFFICIAL_FILES, "yolov7x", known)
    path = fetch(server, tmp_path)
    path.write_bytes(CONTENT[1:])
    with pytest.raises(CheckpointError, match="not the official"):
        fetch(server, tmp_path)
    assert path.exists()


def test_errors_are_one_clear_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"yolov7\.pt: 404"):
        fetch(server, tmp_path, "yolov7")
    with pytest.raises(CheckpointError, match="no official file is called 'yolov8'"):
        fetch(server, tmp_path, "yolov8")
    with pytest.raises(CheckpointError, match="refused"):
        download("yolov7", tmp_path, base_url="http://127.0.0.1:1")
    with pytest.raises(CheckpointError, match="not a web address"):
        download("yolov7", tmp_path, base_url="file:///etc")


def test_every_variant_of_the_paper_has_its_two_files() -> None:
    assert len(OFFICIAL_FILES) == 14
    assert {"yolov7", "yolov7_training", "yolov7-e6e_training"} <= OFFICIAL_FILES.keys()
