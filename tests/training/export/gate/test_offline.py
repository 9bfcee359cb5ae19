"""Files that TensorRT compiles, tried in ONNX Runtime: whole ones hold, foreign ones are refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from training.export.gate.offline import admit, try_offline
from training.export.gate.staged import read_staged
from training.export.gate.subject import Subject
from training.export.passports import read_passport, write_passport
from training.export.precision import write_half
from training.export.session import ExportError


@pytest.fixture
def half(staged: Path, tmp_path: Path) -> Path:
    """The FP16 file of a copy."""
    shutil.copytree(staged, tmp_path / "small")
    return write_half(tmp_path / "small" / "1" / "model.onnx").path


def test_every_shape_and_a_batch_are_tried(half: Path, subject: Subject) -> None:
    trial = try_offline(half, subject)
    assert trial.shapes == {(64, 96): 1.0, (96, 64): 1.0}
    assert (trial.together, trial.largest_batch) == (1.0, 6)
    assert trial.alike.share > 0.95
    assert 0 < trial.alike.boxes_px[0] < trial.alike.boxes_px[1] < 1
    assert (trial.precision, trial.latency_ms) == ("fp16", {})


def test_a_file_of_another_model_onnx_or_of_other_shapes_is_refused(half: Path) -> None:
    spec, passport = read_staged(half.parents[1]).spec, read_passport(half)
    assert passport is not None
    admit(half, spec)
    write_passport(half, replace(passport, made_from="00"))
    with pytest.raises(ExportError, match=r"model\.fp16\.onnx is refused: it was made from another model\.onnx"):
        admit(half, spec)
    write_passport(half, replace(passport, input_shapes=((64, 96),)))
    with pytest.raises(ExportError, match="is refused: it is for 64x96, not for 64x96 96x64"):
        admit(half, spec)


def test_a_file_that_was_changed_or_is_missing_is_refused(half: Path) -> None:
    spec = read_staged(half.parents[1]).spec
    with half.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ExportError, match="is not the file its passport speaks of"):
        admit(half, spec)
    half.unlink()
    with pytest.raises(ExportError, match=r"model\.fp16\.onnx is missing"):
        admit(half, spec)
