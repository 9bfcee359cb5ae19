"""Log lines: one JSON object each, or plain text, and the request's id in each line of a request."""

import contextvars
import http.client
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.app.logs import JsonLines, TextLines, configure_logging
from service.tracing import begin_request

TEXT = TextLines("%(levelname)s %(name)s %(message)s")


def record(message: str, *arguments: object, error: Exception | None = None, **extra: object) -> logging.LogRecord:
    told = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("service.door", logging.WARNING, __file__, 1, message, arguments, told)
    vars(made).update(extra)
    return made


def in_request(formatter: logging.Formatter, made: logging.LogRecord, request_id: str = "from-me.1") -> str:
    def work() -> str:
        begin_request(request_id)
        return formatter.format(made)

    return contextvars.copy_context().run(work)


def raised() -> Exception:
    try:
        raise ValueError("two\nlines")
    except ValueError as exc:
        return exc


def test_a_json_line_tells_what_happened_when_and_to_whom():
    document = json.loads(in_request(JsonLines(), record("%d of %s", 3, "them", status=404, key=None)))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document.pop("time"))
    assert document == {
        "level": "warning",
        "logger": "service.door",
        "message": "3 of them",
        "request_id": "from-me.1",
        "status": 404,
        "key": None,
    }


def test_outside_of_a_request_there_is_no_id():
    assert "request_id" not in json.loads(JsonLines().format(record("started")))
    assert TEXT.format(record("started")) == "WARNING service.door started"


@given(st.text(), st.text(min_size=1), st.dictionaries(st.sampled_from(["peer", "path"]), st.text()))
def test_whatever_a_message_holds_it_is_one_line_that_parses(message: str, argument: str, extra: dict[str, str]):
    line = JsonLines().format(record(f"%s {message.replace('%', '')}", argument, **extra))
    assert "\n" not in line
    assert "\r" not in line
    document = json.loads(line)
    assert document["message"] == f"{argument} {message.replace('%', '')}"
    assert document.items() >= extra.items()


def test_an_exception_is_part_of_its_json_line():
    line = JsonLines().format(record("it failed", error=raised()))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: two\nlines")


def test_what_json_does_not_know_is_written_as_text():
    assert json.loads(JsonLines().format(record("read", folder=Path("/srv"))))["folder"] == "/srv"


def test_what_is_meant_for_a_terminal_stays_out():
    assert "color_message" not in JsonLines().format(record("started", color_message="\x1b[36mstarted\x1b[0m"))


@pytest.mark.parametrize("request_id", ["from-me.1", "WARNING", "door", "0"])
def test_a_text_line_ends_with_the_id_once(request_id: str):
    line = in_request(TEXT, record("3 of them"), request_id)
    assert line == f"WARNING service.door 3 of them id={request_id}"


def test_the_id_stands_before_a_traceback():
    first, *rest = in_request(TEXT, record("it failed", error=raised())).splitlines()
    assert first == "WARNING service.door it failed id=from-me.1"
    assert rest[0].startswith("Traceback")
    assert not any("from-me.1" in line for line in rest)


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """As it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(("form", "formatter"), [("json", JsonLines), ("text", TextLines)])
def test_logging_goes_to_standard_error_in_the_form_asked_for(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], form: str, formatter: type[logging.Formatter]
):
    root_logger.handlers.clear()
    configure_logging("warning", form)
    logging.getLogger("service.door").info("not told")
    logging.getLogger("service.door").warning("told")
    (handler,) = root_logger.handlers
    assert type(handler.formatter) is formatter
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), "told" in err, "not told" in err) == ("", 1, True, False)


@pytest.fixture(scope="module")
def logged(blocks_repository: Path, tmp_path_factory: pytest.TempPathFactory, png: bytes) -> list[str]:
    """The lines of a server that logs JSON, from its start over some requests to its end."""
    folder = tmp_path_factory.mktemp("logs")
    settings = {"model_repository": blocks_repository, "default_model": "blocks", "port": 0, "grpc_port": 0,
                "log_format": "json", "redis_url": "redis://:hush-hush@127.0.0.1:1/0", "cache_secret": "hush-hush",
                "openvino_cache_dir": folder}  # fmt: skip
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    with (folder / "log").open("wb") as file:
        server = subprocess.Popen([sys.executable, "-m", "service", "serve", *flags], stdout=file, stderr=file)
    try:
        ask(await_port(server, folder / "log"), png)
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
    return (folder / "log").read_text().split("\n")


def await_port(server: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(600):
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text()):
            return int(found[1])
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def ask(port: int, png: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for path, body in (("/v1/detect", png), ("/v1/detect?model=%0aforged", png), ("/v1/a%0aforged", b"")):
        connection.request("POST", path, body, {"Content-Type": "image/png", "X-Request-ID": "from-me.1"})
        connection.getresponse().read()
    connection.close()


def test_every_line_of_a_server_is_json(logged: list[str]):
    documents: list[dict[str, Any]] = [json.loads(line) for line in logged if line]
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, documents))
    assert not any("color_message" in document for document in documents)
    assert "closed" in {document["message"] for document in documents}


def test_the_lines_of_requests_carry_their_id_and_no_others_do(logged: list[str]):
    documents: list[dict[str, Any]] = [json.loads(line) for line in logged if line]
    answered = [document["status"] for document in documents if document.get("request_id") == "from-me.1"]
    assert answered == [200, 404, 404]
    assert not any("request_id" in document for document in documents if "status" not in document)


def test_no_line_of_a_server_holds_a_secret(logged: list[str]):
    assert not any("hush-hush" in line for line in logged)
    assert any("**********" in line for line in logged)
