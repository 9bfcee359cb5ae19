"""What a staged version has to say of its engines."""

import shutil
from pathlib import Path

import pytest

from training.export.gate.staged import alone, read_staged
from training.export.session import ExportError

PLAN = 'backend: "tensorrt" default_model_filename: "model.fp16.plan" name: "small"'


def test_the_configuration_of_a_plan_goes_with_the_plan(staged: Path, tmp_path: Path) -> None:
    shutil.copytree(staged, tmp_path / "small")
    (tmp_path / "small" / "config.pbtxt").write_text(PLAN)
    version = read_staged(tmp_path / "small")
    assert version.config_for("found", ["model.onnx"]) == {}
    text = version.config_for("found", ["model.onnx", "model.fp16.plan"])["config.pbtxt"]
    assert 'name: "found"' in text
    assert 'backend: "tensorrt"' in text


def test_a_version_is_read_by_its_own_folder_or_by_the_models(staged: Path) -> None:
    one, other = (read_staged(staged / part) for part in ("", "1"))
    assert one.folder == other.folder
    assert one.card.startswith("# small, version 1")
    assert one.precisions() == ("f32", "bf16")


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"spec\.json"):
        read_staged(tmp_path)


def test_the_service_gets_the_spec_that_is_published_and_not_the_versions(staged: Path, tmp_path: Path) -> None:
    shutil.copytree(staged, tmp_path / "small")
    (tmp_path / "small" / "1" / "spec.json").unlink()
    version = read_staged(tmp_path / "small")
    with alone(version) as repository:
        texts = [(repository / "small" / part / "spec.json").read_text() for part in ("", "1")]
        assert (repository / "small" / "1" / "model.onnx").is_file()
    assert texts == [version.spec.to_json()] * 2
    assert not repository.exists()


def test_a_version_is_found_from_within_its_folder(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(staged / "1")
    assert read_staged(Path()).card.startswith("# small, version 1")
