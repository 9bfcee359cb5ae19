"""The trainer's command line: what it prints, and one clear line for what it refuses."""

from pathlib import Path

import pytest

from training.__main__ import main
from training.checkpoint import Checkpoint


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


def test_wrong_arguments_end_with_status_two(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "a.pt", "--data", "v.json", "--shapes", "wide"])
    assert ended.value.code == 2
    assert "'wide' is not HEIGHTxWIDTH" in capsys.readouterr().err
