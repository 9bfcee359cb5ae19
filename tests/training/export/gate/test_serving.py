"""The service that the gate starts: its last words are told, and it ends whatever happens to the gate."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.evaluate import Endpoint, EndpointError
from training.evaluate.endpoint import ask_object, post_image, served_path
from training.export.gate.serving import serving
from training.export.gate.staged import alone, read_staged
from training.export.session import ExportError

HOLD = """
import pathlib, sys
from training.export.gate.serving import serving
with serving(pathlib.Path(sys.argv[1]), "small", {"precision": "f32"}):
    print(flush=True)
    sys.stdin.read()
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_and_ask(endpoint: Endpoint) -> None:
    for pid in children(os.getpid()):
        if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    while True:
        ask_object(endpoint, "/v1/models/small")


def test_a_service_that_is_killed_amid_it_is_told_with_its_last_words(staged: Path) -> None:
    told = r"the service ended amid it, by SIGKILL; its last words: .*running on http"
    with (
        alone(read_staged(staged)) as repository,
        pytest.raises(ExportError, match=told),
        serving(repository, "small", {"precision": "f32"}) as endpoint,
    ):
        kill_and_ask(endpoint)


def test_pictures_that_are_too_large_for_strangers_are_taken(staged: Path) -> None:
    _, file = cv2.imencode(".png", np.zeros((7_100, 7_100), np.uint8))
    with alone(read_staged(staged)) as repository, serving(repository, "small", {"precision": "f32"}) as endpoint:
        answer = post_image(endpoint, served_path("small"), file.tobytes(), "large.png")
    assert "detections" in answer


def test_a_complaint_of_a_service_that_lives_on_stays_as_it_is(staged: Path) -> None:
    with (
        alone(read_staged(staged)) as repository,
        pytest.raises(EndpointError, match="404"),
        serving(repository, "small", {"precision": "f32"}) as endpoint,
    ):
        ask_object(endpoint, "/v1/models/other")


def test_what_a_service_cannot_start_with_is_told(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing"), serving(tmp_path / "nothing", "small", {}):
        raise AssertionError("it started")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parents")
def test_no_service_outlives_a_killed_gate(staged: Path) -> None:
    with alone(read_staged(staged)) as repository:
        command = [sys.executable, "-c", HOLD, str(repository)]
        gate = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert gate.stdin is not None
        assert gate.stdout is not None
        with gate, gate.stdin:
            assert gate.stdout.readline() == b"\n"
            (service,) = map(os.pidfd_open, children(gate.pid))
            gate.kill()
        ended, _, _ = select.select([service], [], [], 30)
        os.close(service)
        assert ended
