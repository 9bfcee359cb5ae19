"""The trainer's command line: what it prints, and one clear line for what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.__main__ import main
from training.checkpoint import Checkpoint
from training.nets import VARIANTS, build_network


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(b"never decoded here")
    images = [{"id": 1, "file_name": "1.png", "width": 64, "height": 64}]
    table = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "box"}]}
    (tmp_path / "val.json").write_text(json.dumps(table))
    return tmp_path / "val.json"


def test_describe_prints_counted_figures_beside_the_papers(capsys: pytest.CaptureFixture[str]):
    assert main(["describe", "d6"]) == 0
    printed = capsys.readouterr().out
    for figure in ("154,652,532", "154.7 M", "806.959", "806.8", "133,757,052", "702.582"):
        assert figure in printed


def test_import_reports_what_it_took_and_writes_our_checkpoint(
    shared_golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "ours.pt"
    assert main(["import", str(shared_golden / "official-format-tiny-train.pt"), "--out", str(out)]) == 0
    assert "tiny: training form, 80 classes; 344 tensors taken" in capsys.readouterr().out
    assert Checkpoint.load(out).variant == "tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "nothing", "--data", ".", "--run", "r"], "nothing.toml"),
        (["train", "--config", "small", "--set", "epochs", "--data", ".", "--run", "r"], "--set takes KEY=VALUE"),
        (["train", "--config", "small", "--set", "epoch=1", "--data", ".", "--run", "r"], "unknown key 'epoch'"),
        (["train", "--data", "nowhere", "--run", "r"], "nowhere"),
        (["import", "nowhere.pt"], "nowhere.pt"),
    ],
)
def test_a_refusal_is_one_line_on_standard_error(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("yolov7-training: ")
    assert message in line


@pytest.mark.parametrize("shape", ["100x100", "0x64", "64x-32"])
def test_shapes_that_no_network_takes_are_refused(
    shape: str, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
):
    state = build_network(VARIANTS["tiny"], num_classes=1).state_dict()
    Checkpoint("tiny", "training", ("box",), state=state).save(tmp_path / "own.pt")
    assert main(["evaluate", str(tmp_path / "own.pt"), "--data", str(data), "--shapes", shape]) == 1
    assert f"{shape}: both sides must be multiples of 32" in capsys.readouterr().err


def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path: Path):
    fifo = (
        tmp_path / "val.json"
    )  # reading it waits for a writer, so the command is surely at work when the signal comes
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "training", "evaluate", "--url", "http://127.0.0.1:9", "--data", str(fifo)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, fifo.open("w"):
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert (process.returncode, "stopped" in told) == (130, True)


def test_wrong_arguments_end_with_status_two(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "a.pt", "--data", "v.json", "--shapes", "wide"])
    assert ended.value.code == 2
    assert "'wide' is not HEIGHTxWIDTH" in capsys.readouterr().err
