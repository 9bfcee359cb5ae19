"""Narrower files are scored by the same command as their parent."""

from pathlib import Path

import pytest

from training.__main__ import main
from training.data import CocoDataset
from training.export.exported import open_exported
from training.export.openvino_session import OpenvinoSession
from training.export.session import ExportError


def test_openvino_runs_what_has_a_precision_or_is_its_own_format(model: Path) -> None:
    assert open_exported(model).facts["engine"] == "ONNX Runtime on the CPU"
    assert open_exported(model, precision="f32").facts["engine"] == "OpenVINO on the CPU, f32"


def test_both_engines_find_the_same(model: Path, pictures_set: CocoDataset) -> None:
    by_onnx, by_openvino = (
        dict(exported.detect(pictures_set))
        for exported in (open_exported(model), open_exported(model, precision="f32"))
    )
    assert by_onnx.keys() == by_openvino.keys()
    for key, found in by_onnx.items():
        assert by_openvino[key].scores.tolist() == pytest.approx(found.scores.tolist(), abs=1e-4)


def test_a_file_that_is_no_graph_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.int8.xml").write_text("no graph")
    with pytest.raises(ExportError, match=r"^OpenVINO does not load .*model.int8.xml: .+$"):
        OpenvinoSession(tmp_path / "model.int8.xml")


def test_a_checkpoint_has_no_precision(published, pictures_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", str(published.checkpoint), "--data", str(pictures_folder), "--precision", "bf16"]
    assert main(arguments) == 1
    assert "--precision is for exported files" in capsys.readouterr().err
