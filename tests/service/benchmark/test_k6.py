"""One step, with the real k6 against the real service."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.benchmark.k6 import K6, K6Failed, find_k6
from service.benchmark.load import Load
from service.benchmark.pictures import Pictures, generate_pictures
from service.benchmark.target import Target

pytestmark = pytest.mark.usefixtures("k6_program")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")


def ignore(seconds):
    """Nobody watches."""


def encoded(kind):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def test_pictures_of_every_format_are_taken_with_the_mark_behind_them(make_k6, serving):
    pictures = Pictures([encoded(kind) for kind in FORMATS], "one of each")
    figures = make_k6(serving.url, pictures).run(Load(2, seconds=1, warm_up_s=0), ignore)
    assert figures.sent > len(FORMATS)
    assert figures.statuses == {"200": figures.sent}


def test_what_finds_no_room_is_dropped_and_what_takes_too_long_is_counted(make_k6, make_serving, engine_with_switch):
    serving = make_serving(engine_with_switch)
    engine_with_switch.gate.clear()
    figures = make_k6(serving.url).run(Load(2, rate=40.0, seconds=1, warm_up_s=0, timeout_s=0.2), ignore)
    engine_with_switch.gate.set()
    assert figures.dropped > 0
    assert figures.sent + figures.dropped == pytest.approx(40, abs=2)
    assert set(figures.statuses) <= {"503", "504"}
    assert (figures.answered, figures.latency_ms, figures.per_second) == (0, {}, 0.0)


def test_a_service_that_is_gone_gives_no_answers(make_k6):
    figures = make_k6("http://127.0.0.1:9").run(Load(1, rate=20.0, seconds=1, warm_up_s=0, timeout_s=1), ignore)
    assert figures.statuses == {"no answer": figures.sent}
    assert "connection refused" in figures.failure


class Hesitant(BaseHTTPRequestHandler):
    """Keeps the first who asks waiting until a second one has come."""

    protocol_version = "HTTP/1.1"
    asked = threading.Semaphore(0)
    first = threading.Lock()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.first.acquire(blocking=False):
            self.asked.acquire(timeout=30)
            self.close_connection = True  # that client has gone
            return
        self.asked.release()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


def test_a_client_that_still_waits_after_the_warm_up_is_measured_all_the_same(make_k6):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hesitant) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        figures = make_k6(f"http://127.0.0.1:{server.server_port}").run(Load(1, seconds=1, warm_up_s=1), ignore)
        server.shutdown()
    assert figures.answered > 0
    assert figures.statuses == {"200": figures.sent}
    assert figures.failure is None


def test_it_watches_and_tells_what_the_generator_cost(make_k6, serving):
    seen = []
    figures = make_k6(serving.url).run(Load(1, seconds=1, warm_up_s=0), seen.append)
    assert seen
    assert figures.cost.cpu_s > 0
    assert figures.cost.wall_s > 1
    assert not figures.cut


def test_the_users_own_settings_of_k6_do_not_interfere(make_k6, serving, monkeypatch):
    monkeypatch.setenv("K6_ITERATIONS", "1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    figures = make_k6(serving.url).run(Load(1, seconds=1, warm_up_s=0), ignore)
    assert figures.sent > 1


def test_the_key_is_in_no_file(tmp_path, monkeypatch, serving):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with K6(find_k6(), Target(serving.url, key="hush"), generate_pictures((64, 48), 1)) as k6:
        k6.run(Load(1, seconds=1, warm_up_s=0), ignore)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert files
        assert not any(b"hush" in path.read_bytes() for path in files)
    assert list(tmp_path.iterdir()) == []


def test_interrupting_it_returns_what_there_is(make_k6, serving):
    def watch(seconds):
        if serving.detections() > before + 5:
            raise KeyboardInterrupt

    before = serving.detections()
    figures = make_k6(serving.url).run(Load(1, seconds=60, warm_up_s=0), watch)
    assert figures.cut
    assert figures.answered > 0
    assert figures.seconds < 60


def test_a_program_that_is_no_k6_is_one_line(serving, tmp_path):
    program = tmp_path / "k6"
    program.write_text(
        '#!/bin/sh\nprintf "%s\\n" \'{"level": "error", "msg": "I am broken\\nand long"}\' >&2\nexit 7\n'
    )
    program.chmod(0o755)
    with K6(str(program), Target(serving.url), generate_pictures((64, 48), 1)) as k6:
        with pytest.raises(K6Failed, match=r"^k6 ended with 7: I am broken and long$"):
            k6.run(Load(1, seconds=1, warm_up_s=0), ignore)
        with pytest.raises(K6Failed, match="does not run"):
            k6.version()


def test_its_version_is_told(make_k6):
    assert make_k6("http://127.0.0.1:9").version().startswith("v1.")


def test_the_script_names_no_status_that_figures_do_not_read(make_k6):
    work = make_k6("http://127.0.0.1:9")._work(Load(1))
    assert json.loads(json.dumps(work))["statuses"][:2] == [0, 200]
    assert Path(work["pictures_file"]).is_file()


def test_no_request_may_take_as_long_as_k6_waits_at_the_end(make_k6):
    load = Load(1, timeout_s=0.5)
    graceful_ms = int(load.scenarios()["measured"]["gracefulStop"].removesuffix("ms"))
    assert graceful_ms - make_k6("http://127.0.0.1:9")._work(load)["timeout_ms"] >= 2000


def test_interrupting_it_while_it_starts_is_no_failure_of_k6(tmp_path):
    def watch(seconds):
        raise KeyboardInterrupt

    program = tmp_path / "k6"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    made = K6(str(program), Target("http://127.0.0.1:9"), generate_pictures((64, 48), 1))
    with made as k6, pytest.raises(KeyboardInterrupt):
        k6.run(Load(1, seconds=1, warm_up_s=0), watch)
