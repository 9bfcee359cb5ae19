import contextlib
import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from service.camera.ages import Ages
from service.camera.events import Answered, Dropped, Failed, Notice
from service.camera.shot import Shot
from service.camera.source import Source
from service.camera.tally import Speed, Tally
from service.camera.view import View, line, summary
from service.client.results import Detections, ModelVersion


class Reading:
    """As much of a capture as is shown."""

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self.seen = 12
        self.damaged = 0
        self.speed = Speed()


def answered(number: int, *labels: str) -> Answered:
    count = len(labels)
    found = Detections(
        np.zeros((count, 4), np.float32), np.ones(count, np.float32), np.zeros(count, np.int32), tuple(labels)
    )
    shot = Shot(number, str(number), 0.0, None, 0.0, None, None)
    return Answered(shot, found, (10, 10), 0.020, 0.050, ModelVersion("vehicles", "1"))


@pytest.fixture
def tally() -> Tally:
    tally = Tally(100.0)
    tally.add(Notice("service", "open", "delivery latest"), 100.0)
    tally.add(Notice("source", "lost", "it ended", 0.5), 100.0)
    for number in range(9):
        tally.add(answered(number, "Car", "Bus"), 101.0)
    tally.add(answered(9, "Car", "Car"), 102.0)
    tally.add(Dropped("replaced", 10, 12, 3), 102.0)
    tally.add(Failed(answered(13).shot, "engine-down", "no engine"), 102.0)
    return tally


def test_the_panel_shows_how_a_run_stands(tally: Tally):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    view = View(console, Source.of("rtsp://me:hush@camera/live"), tally, Reading(total=28))
    console.print(view.panel())
    text = screen.getvalue()
    for shown in ("rtsp://***@camera/live", "vehicles/1", "20 / 20 ms", "50 / 50 ms", "replaced 3", "Car 2", "14/28"):
        assert shown in text
    assert "lost, trying again: it ended" in text
    assert "hush" not in text


def test_the_line_says_the_same(tally: Tally):
    text = line(tally, Reading(), 102.0)
    assert "0.0 read, 2.0 answered" in text
    assert "failed 1, lately 13: no engine" in text
    assert "reconnects source 1" in text
    assert "\n" not in text


def test_the_summary_counts_the_whole_run(tally: Tally):
    screen = io.StringIO()
    Console(file=screen, width=100).print(summary(tally, Reading(), 110.0))
    text = screen.getvalue()
    assert "10 (1.0 per second)" in text
    assert "Car 11, Bus 9" in text
    assert tally.frames == 14


def test_speed_is_of_the_last_seconds_only():
    speed = Speed()
    for tenth in range(100):
        speed.add(tenth / 10)
    assert speed.per_s(10.0) == pytest.approx(10, abs=0.3)
    assert speed.per_s(16.0) == 0


def test_percentiles_of_a_long_run_are_right_to_a_hundredth():
    ages = Ages()
    values = np.random.default_rng(3).lognormal(-3, 1, 20_000)
    for value in values:
        ages.add(float(value))
    for share in (0.5, 0.95, 0.99):
        assert ages.all(share) == pytest.approx(np.quantile(values, share), rel=0.015)
    assert ages.latest(0.5) == pytest.approx(np.quantile(values[-100:], 0.5), rel=0.1)


def test_without_a_single_one_there_is_no_percentile():
    assert Ages().all(0.5) is None
    assert Ages().latest(0.5) is None


def test_ages_of_nothing_are_counted():
    ages = Ages()
    ages.add(0.0)
    assert ages.all(0.5) == pytest.approx(1e-4, rel=0.02)


def test_a_terminal_sees_the_panel_and_then_the_summary(clip: Path, gateway: Any):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "service", "camera", *gateway.flags, str(clip), "--delivery", "latest"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        with (
            os.fdopen(ours, "rb", buffering=0) as terminal,
            contextlib.suppress(OSError),
        ):  # which is how its end is told
            while chunk := terminal.read(65536):
                shown += chunk
        assert process.wait(60) == 0
    assert "╭─ ".encode() in shown
    assert b"/20" in shown
    assert shown.rindex(b"frames read") > shown.rindex("╰".encode())
