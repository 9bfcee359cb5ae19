"""Tracing is off unless an endpoint is set, and then nothing of it is imported.

FastAPI imports OpenTelemetry's API, and redis-py its metrics where they are installed; what makes, keeps and sends
spans is imported by nobody but us.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.app import Service
from service.errors import StartError
from service.settings import Settings
from service.tracing import begin_request, current_request_id, current_trace, current_traceparent

OFF = """
import sys
from service.app import Service, build_application
from service.settings import Settings
build_application(Service(Settings.load({"model_repository": sys.argv[1], "default_model": "blocks"})))
assert "service.tracing.tracer" in sys.modules
extra = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.proto", "service.tracing.spans")
assert not [name for name in sys.modules if name.startswith(extra)]
"""
WITHOUT = """
import sys
sys.modules["opentelemetry.sdk"] = None
from service.__main__ import main
sys.argv = ["yolov7-service", "serve", "--trace-endpoint", "http://collector:4318"]
sys.argv += ["--model-repository", "REPOSITORY", "--default-model", "blocks", "--port", "0"]
main()
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True)


def test_nothing_is_imported_while_it_is_off(blocks_repository: Path):
    done = run(OFF, str(blocks_repository))
    assert done.returncode == 0, done.stderr


def test_without_the_extra_the_start_says_what_to_install(blocks_repository: Path):
    done = run(WITHOUT.replace("REPOSITORY", str(blocks_repository)))
    assert done.returncode != 0
    assert "trace_endpoint needs OpenTelemetry: pip install 'yolov7-service[tracing]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://", "/v1/traces", "http://[x"])
def test_an_endpoint_that_is_no_url_stops_the_start(make_settings: Callable[..., Settings], endpoint: str):
    with pytest.raises(StartError, match=r"^trace_endpoint: "):
        Service(make_settings(trace_endpoint=endpoint))


def test_outside_of_any_request_there_is_nothing():
    assert current_trace() is None
    assert current_traceparent() is None


def test_the_work_belongs_to_the_request_that_began():
    begin_request("from-me.1")
    assert current_request_id() == "from-me.1"
    begin_request("")
