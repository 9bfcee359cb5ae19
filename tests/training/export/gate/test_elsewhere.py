"""An engine of a service that runs already: with its key, only if it has this very model, and never by a traceback."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from service.access import new_key
from training.evaluate import Endpoint
from training.export.gate.request import Request
from training.export.gate.serving import serving
from training.export.gate.staged import Staged, alone, read_staged
from training.export.gate.subject import Subject
from training.export.gate.trials import Findings, Refused, try_all
from training.export.precision import write_half


@pytest.fixture
def half(staged: Path, tmp_path: Path) -> Staged:
    """A version whose FP16 file was damaged, so that trying it here is quick, and tells nothing."""
    shutil.copytree(staged, tmp_path / "small")
    write_half(tmp_path / "small" / "1" / "model.onnx").path.write_bytes(b"")
    return read_staged(tmp_path / "small")


def try_there(version: Staged, subject: Subject, endpoint: Endpoint) -> tuple[Findings, list[Refused]]:
    request = Request(version.folder, version.folder, subject.dataset, "val.json", engines=("fp16",))
    found = try_all(replace(request, elsewhere=endpoint), version, subject)
    return found, [each for each in found.refused if each.engine == endpoint.url]


def test_its_engine_is_tried_with_the_key_that_it_asks_for(half: Staged, subject: Subject, tmp_path: Path) -> None:
    token, entry = new_key("gate", ["detect"], None)
    (tmp_path / "keys.toml").write_text(entry)
    settings = {"precision": "f32", "keys_file": str(tmp_path / "keys.toml")}
    with alone(half) as repository, serving(repository, "small", settings) as endpoint:
        _, (refused,) = try_there(half, subject, endpoint)
        assert "401" in refused.against[0]
        found, rest = try_there(half, subject, Endpoint(endpoint.url, token))
    assert rest == []
    (trial,) = found.trials
    assert (trial.file, trial.precision, trial.url) == ("model.onnx", "f32", endpoint.url)
    assert trial.alike.share > 0.95
    assert token not in repr(found)


def test_a_service_with_another_model_of_that_name_is_refused(half: Staged, damaged: Path, subject: Subject) -> None:
    with alone(read_staged(damaged)) as repository, serving(repository, "small", {"precision": "f32"}) as endpoint:
        _, (refused,) = try_there(half, subject, endpoint)
    assert refused.against == ["small/1 there was made from another model.onnx"]


class Answers(BaseHTTPRequestHandler):
    """Tells of its model what the server was given, the last of it for ever, and finds nothing anywhere."""

    def do_GET(self) -> None:
        given = self.server.given  # type: ignore[attr-defined]
        if self.path == "/metrics":
            self.answer(404, {})
        else:
            self.answer(200, given.pop(0) if len(given) > 1 else given[0])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, {"detections": []})

    def answer(self, status: int, told: dict[str, object]) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


KNOWN = {"version": "1", "ready": True, "reason": "", "engine": "triton", "device": "GPU", "precision": "fp16"}


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"status": "ok"}, "says nothing of device: is it the service"),
        (
            {"passport": {"file": "../../model.plan", "sha256": {}}},
            "../../model.plan, which runs there, does not lie in",
        ),
        ({"passport": {"file": "model.fp16.plan", "sha256": {}}}, "model.fp16.plan, which runs there, does not lie in"),
        ({"passport": {"file": "model.onnx", "sha256": {"model.onnx": "00"}}}, "model.onnx there is another file than"),
        ({"precision": "int8", "passport": None}, "the file that runs there has no passport"),
    ],
)
def test_what_is_not_this_version_is_told(
    half: Staged, subject: Subject, server: ThreadingHTTPServer, about: dict[str, object], told: str
) -> None:
    whole = about if "status" in about else KNOWN | {"sha256": half.spec.sha256} | about
    server.given = [whole]  # type: ignore[attr-defined]
    _, (refused,) = try_there(half, subject, Endpoint(f"http://127.0.0.1:{server.server_port}"))
    assert told in refused.against[0]


def test_one_that_keeps_its_metrics_to_itself_is_tried_all_the_same(
    half: Staged, subject: Subject, server: ThreadingHTTPServer
) -> None:
    server.given = [KNOWN | {"sha256": half.spec.sha256}]  # type: ignore[attr-defined]
    found, rest = try_there(half, subject, Endpoint(f"http://127.0.0.1:{server.server_port}"))
    assert rest == []
    assert (found.trials[0].alike.share, found.trials[0].largest_batch) == (0.0, 0)
    assert "does not tell its metrics" in found.notes[0]


def test_one_that_loads_another_version_meanwhile_is_refused(
    half: Staged, subject: Subject, server: ThreadingHTTPServer
) -> None:
    first = KNOWN | {"sha256": half.spec.sha256}
    server.given = [first, first, first | {"version": "2"}]  # type: ignore[attr-defined]
    found, (refused,) = try_there(half, subject, Endpoint(f"http://127.0.0.1:{server.server_port}"))
    assert refused.against == ["small/1 was replaced there while it was tried"]
    assert found.trials == []
