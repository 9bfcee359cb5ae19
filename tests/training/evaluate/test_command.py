"""``yolov7-training evaluate``: a checkpoint, an exported file, what it writes and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from service.vision.spec import ModelSpec
from training.__main__ import main
from training.checkpoint import Checkpoint
from training.data import CocoDataset, open_part
from training.evaluate import score
from training.evaluate.model import Way, open_model
from training.export.exported import open_exported
from training.nets import VARIANTS, build_network


@pytest.fixture
def checkpoint(tmp_path: Path, dataset: CocoDataset) -> Path:
    network = build_network(VARIANTS["tiny"], num_classes=2)
    path = tmp_path / "own.pt"
    Checkpoint("tiny", "training", dataset.class_names, network.state_dict(), config={"image_size": 96}).save(path)
    return path


def test_figures_and_a_report_are_written(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["evaluate", str(checkpoint), "--data", str(tmp_path / "val.json"), "--json", str(tmp_path / "f.json")]
    assert main([*command, "--report", str(tmp_path / "r.html")]) == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["per_class"]["cat"]["objects"] == 3
    assert {"ar1", "ar_small", "confusion", "worst_images", "class_confidence"} <= figures.keys()
    report = (tmp_path / "r.html").read_text()
    assert "96×96" in report  # what it was trained at
    assert f"yolov7-training evaluate {checkpoint}" in report
    assert "calibration error" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--tta"], ["--protocol", "paper"], ["--protocol", "paper", "--tta"]])
def test_every_way_of_looking_is_scored(checkpoint: Path, tmp_path: Path, options: list[str]):
    out = tmp_path / "f.json"
    assert main(["evaluate", str(checkpoint), "--data", str(tmp_path / "val.json"), "--json", str(out), *options]) == 0
    assert 0 <= json.loads(out.read_text())["ap"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "evaluate what"),
        (["own.pt", "--protocol", "paper", "--shapes", "96x96", "64x96"], "one square shape"),
        (["own.pt", "--protocol", "paper", "--shapes", "64x96"], "one square shape"),
        (["own.pt", "--device", "toaster"], "no device is called"),
        (["model.onnx", "--tta"], "without --tta"),
        (["model.onnx"], "spec.json"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_one_line(
    checkpoint: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(checkpoint.parent)
    assert main(["evaluate", *arguments, "--data", "val.json"]) == 1
    refused = capsys.readouterr().err
    assert message in refused
    assert refused.count("\n") == 1


def test_classes_in_another_order_are_said(checkpoint: Path, dataset: CocoDataset, caplog: pytest.LogCaptureFixture):
    next(open_model(checkpoint, Way()).detect(replace(dataset, class_names=dataset.class_names[::-1])))
    assert "class 0 is 'cat'" in caplog.text


@pytest.mark.long
def test_the_ap_of_the_shipped_model_is_that_of_its_card(repository: Path, shared_data: Path):
    dataset, file = open_part(shared_data / "vehicles", "val"), repository / "vehicles" / "1" / "model.onnx"
    stated = ModelSpec.from_json(file.with_name("spec.json").read_text()).average_precision["AP"]
    assert score(dataset, open_exported(file).detect(dataset)).ap == pytest.approx(stated, abs=0.002)
