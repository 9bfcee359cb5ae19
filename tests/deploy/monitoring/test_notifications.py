"""From a counter that rises to a message that somebody gets: a real Prometheus, Alertmanager, and whom that calls."""

import json
import re
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .conftest import DEPLOY, need

CONFIG = DEPLOY / "alertmanager" / "alertmanager.yml"
COUNTERS = """# TYPE yolov7_errors_total counter
yolov7_errors_total{{kind="internal"}} {0}
# TYPE yolov7_requests_total counter
yolov7_requests_total{{route="/v1/detect",code="200"}} {0}
yolov7_requests_total{{route="/v1/detect",code="503"}} {1}
"""
WAIT_S = 60


class Ears:
    """Answers two kinds of question: how the counters of a gateway in trouble stand, and what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.asked = 0

    def answer(self, request: BaseHTTPRequestHandler) -> bytes:
        if request.command == "POST":
            body = request.rfile.read(int(request.headers["Content-Length"]))
            self.told.append((request.path, json.loads(body)))
            return b""
        self.asked += 1
        return COUNTERS.format(self.asked, 100 * self.asked).encode()

    def hear(self, path: str, alert: str) -> dict[str, Any]:
        """The first message there about an alert."""

        def heard() -> list[dict[str, Any]]:
            there = [message for where, message in self.told if where == path]
            return [message for message in there if message["groupLabels"]["alertname"] == alert]

        assert comes_true(heard), f"{path} was never told of {alert}"
        return heard()[0]


@contextmanager
def served(ears: Ears) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = ears.answer(self)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def alertmanager(folder: Path, ears: str) -> Iterator[str]:
    """With the configuration of the repository, told at once and elsewhere."""
    from local_stack import free_port

    text = re.sub(r"https://example\.org/put-here-what-[\w-]+", f"http://{ears}/page", CONFIG.read_text())
    text = re.sub(r"https://example\.org/put-here-where-[\w-]+", f"http://{ears}/ticket", text)
    (folder / "config.yml").write_text(re.sub(r"group_wait: \d+s", "group_wait: 0s", text))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-alertmanager", f"--config.file={folder / 'config.yml'}", f"--storage.path={folder}"]
    command += [f"--web.listen-address={address}", "--cluster.listen-address=", "--log.level=error"]
    process = subprocess.Popen(command)
    try:
        assert comes_true(lambda: asked(f"http://{address}/-/ready"))
        yield address
    finally:
        process.terminate()
        process.wait(20)


def asked(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read() or b"{}"


def comes_true(ask: Callable[[], Any]) -> bool:
    for _ in range(10 * WAIT_S):
        with suppress(OSError):
            if ask():
                return True
        # Another process's state can only be asked for.
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ears, str]]:
    """A gateway in trouble, who watches it, who is told, and where the Alertmanager between them is."""
    need("prometheus", "prometheus-alertmanager")
    from local_prometheus import LocalPrometheus
    from local_stack import free_port

    ears = Ears()
    with served(ears) as address, alertmanager(tmp_path_factory.mktemp("alertmanager"), address) as manager:
        targets = {"yolov7-gateway": [address]}
        folder = tmp_path_factory.mktemp("prometheus")
        prometheus = LocalPrometheus(folder, targets, free_port(), alertmanager=manager)
        try:
            prometheus.start()
            yield ears, manager
        finally:
            prometheus.stop()


def test_a_page_and_a_ticket_go_where_they_belong(told: tuple[Ears, str]):
    ears, _ = told
    [page] = ears.hear("/page", "ErrorBudgetBurnsFast")["alerts"]
    assert page["labels"]["severity"] == "page"
    assert page["annotations"]["runbook_url"] == "docs/runbook.md#errorbudgetburnsfast"
    ticket = ears.hear("/ticket", "ServiceBug")
    assert ticket["alerts"][0]["labels"]["severity"] == "ticket"
    assert "answered with a bug of its own" in ticket["alerts"][0]["annotations"]["summary"]


def states(manager: str) -> dict[str, str]:
    alerts = json.loads(asked(f"http://{manager}/api/v2/alerts"))
    return {alert["labels"]["alertname"]: alert["status"]["state"] for alert in alerts}


def test_what_follows_from_another_alert_is_not_told(told: tuple[Ears, str]):
    _, manager = told
    follow = {"GatewayDown": "a", "EngineServerDown": "a", "ModelNotReady": "b"}
    sent = [{"alertname": name, "instance": instance, "severity": "ticket"} for name, instance in follow.items()]
    sent += [{"alertname": name, "instance": "a", "severity": "page"} for name in ("NoGateway", "EngineDown")]
    asked(f"http://{manager}/api/v2/alerts", [{"labels": labels} for labels in sent])
    assert comes_true(lambda: states(manager).get("GatewayDown") == "suppressed")
    assert comes_true(lambda: states(manager).get("EngineServerDown") == "suppressed")
    assert comes_true(lambda: states(manager).get("ModelNotReady") == "active")  # of another gateway


def test_the_watchdog_reaches_whoever_is_put_there_and_nobody_else():
    need("amtool")
    route = ["amtool", "config", "routes", "test", f"--config.file={CONFIG}", "alertname=Watchdog", "severity=none"]
    assert subprocess.run(route, check=True, capture_output=True, text=True, timeout=30).stdout.strip() == "nobody"


@pytest.mark.parametrize("kind", ["", "slack_configs", "pagerduty_configs", "email_configs"])
def test_amtool_accepts_it_and_the_receivers_that_it_offers(kind: str, tmp_path: Path):
    need("amtool")
    text = CONFIG.read_text()
    if kind:
        [offered] = re.findall(rf"^#   ({kind}: .+)$", text, re.MULTILINE)
        text = re.sub(r"    webhook_configs: .+put-here-what-wakes.+", f"    {offered}", text)
    (tmp_path / "config.yml").write_text(text)
    check = ["amtool", "check-config", str(tmp_path / "config.yml")]
    done = subprocess.run(check, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
