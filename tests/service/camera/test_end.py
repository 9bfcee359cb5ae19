"""However a run ends, what it wrote is whole; and a service that was away is found again."""

import fcntl
import json
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_files(
    start: Start,
    rtsp_server: Callable[..., Any],
    tmp_path: Path,
    play: Callable[[Path], list[Any]],
    how: signal.Signals,
):
    outputs = ("--mp4", tmp_path / "boxes.mp4", "--coco", tmp_path / "c.json", "--coco-images", tmp_path / "i.json")
    watching = start(f"rtsp://{rtsp_server('jpeg').address}", *outputs)
    watching.wait_for(10, type="result")
    assert watching.end(how) == 0
    answered = len(watching.lines(type="result"))
    assert len(play(tmp_path / "boxes.mp4")) == answered
    assert len(json.loads((tmp_path / "i.json").read_text())["images"]) == answered
    assert json.loads((tmp_path / "c.json").read_text())
    assert watching.jsonl.read_text().endswith("}\n")
    assert not list(tmp_path.glob("*.part"))


def test_a_video_can_be_played_even_if_its_writer_is_killed(
    start: Start, rtsp_server: Callable[..., Any], tmp_path: Path, play: Callable[[Path], list[Any]]
):
    watching = start(f"rtsp://{rtsp_server('jpeg').address}", "--mp4", tmp_path / "boxes.mp4")
    # Key frames are two seconds apart, 30 frames of this camera.
    watching.wait_for(90, type="result")
    watching.end(signal.SIGKILL)
    assert len(play(tmp_path / "boxes.mp4")) >= 30


def test_a_file_that_was_cut_short_is_no_success(start: Start, write_clip: Callable[..., Path], tmp_path: Path):
    watching = start(write_clip(tmp_path / "long.mp4", 600), "--delivery", "latest")
    watching.wait_for(3, type="result")
    assert watching.end() == 128 + signal.SIGINT


def test_a_pipe_that_nobody_writes_to_does_not_keep_the_process(start: Start):
    watching = start("-", stdin=subprocess.PIPE)
    watching.wait_started()
    assert watching.end() == 128 + signal.SIGINT


def test_a_pipe_that_nobody_writes_to_is_given_up(start: Start):
    watching = start("-", "--give-up", "0.2", stdin=subprocess.PIPE)
    assert watching.process.wait(60) == 1
    assert "standard input: gave up after 0.2 s without a frame" in watching.err


def test_a_third_signal_ends_what_a_pipe_holds_that_nobody_reads(
    gateway: Any, write_clip: Callable[..., Path], tmp_path: Path, eventually: Callable[[Callable[[], Any]], Any]
):
    command = [sys.executable, "-m", "service", "camera", *gateway.flags, write_clip(tmp_path / "a.mp4", 600)]
    err = tmp_path / "err"
    with (
        err.open("wb") as log,
        subprocess.Popen([*command, "--jsonl", "-"], stdout=subprocess.PIPE, stderr=log, pipesize=4096) as process,
    ):
        eventually(lambda: waiting_bytes(process.stdout) > 2000)
        for word in ("once more ends", "once more kills"):
            process.send_signal(signal.SIGINT)
            eventually(lambda word=word: word in err.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT


def waiting_bytes(pipe: Any) -> int:
    """What nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_a_camera_outlives_a_restart_of_the_service(
    start: Start, rtsp_server: Callable[..., Any], make_gateway: Callable[..., Any]
):
    gateway = make_gateway()
    watching = start(f"rtsp://{rtsp_server('jpeg').address}", at=gateway)
    watching.wait_for(5, type="result")
    gateway.end()
    watching.wait_for(type="service", state="lost")
    gateway.start()
    watching.wait_for(2, type="service", state="open")
    watching.wait_for(len(watching.lines(type="result")) + 5, type="result")
    assert watching.end() == 0
    told = sum(line["count"] for line in watching.lines(type="dropped")) + len(watching.lines(type="result"))
    assert told == max(line.get("last", line.get("sequence", -1)) for line in watching.lines()) + 1


def test_every_frame_of_a_file_is_answered_although_the_service_is_killed(
    start: Start, make_gateway: Callable[..., Any], write_clip: Callable[..., Path], tmp_path: Path
):
    gateway = make_gateway()
    watching = start(write_clip(tmp_path / "long.mp4", 3000), at=gateway)
    watching.wait_for(50, type="result")
    gateway.end(signal.SIGKILL)
    watching.wait_for(type="service", state="lost")
    gateway.start()
    assert watching.process.wait(120) == 0
    assert [line["sequence"] for line in watching.lines(type="result")] == list(range(3000))


def test_standard_output_that_nobody_reads_ends_the_run_without_a_word(gateway: Any, clip: Path):
    command = [sys.executable, "-m", "service", "camera", *gateway.flags, str(clip), "--jsonl", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGPIPE
    assert "Traceback" not in err
    assert "Broken pipe" not in err
