"""The repository: versions, and that nobody ever sees half a model."""

from dataclasses import replace
from pathlib import Path

import pytest

from service.vision.spec import ModelSpec
from training.export.repository import Publication, next_version, publish, staging
from training.export.session import ExportError


def put(repository: Path, spec: ModelSpec, content: bytes = b"weights") -> Path:
    with staging(repository) as folder:
        (folder / "model.onnx").write_bytes(content)
        return publish(repository, folder / "model.onnx", Publication(spec, f"card of {spec.version}\n"))


@pytest.fixture
def spec(published) -> ModelSpec:
    return published.report.spec


def test_versions_count_up(tmp_path: Path, spec: ModelSpec) -> None:
    assert next_version(tmp_path, "small") == "1"
    assert put(tmp_path, spec) == tmp_path / "small" / "1"
    assert next_version(tmp_path, "small") == "2"
    put(tmp_path, replace(spec, version="10"))
    assert next_version(tmp_path, "small") == "11"


def test_a_new_version_replaces_the_papers_and_keeps_the_old_weights(tmp_path: Path, spec: ModelSpec) -> None:
    put(tmp_path, spec, b"old")
    put(tmp_path, replace(spec, version="2"), b"new")
    folder = tmp_path / "small"
    assert (folder / "1" / "model.onnx").read_bytes() == b"old"
    assert (folder / "2" / "model.onnx").read_bytes() == b"new"
    assert ModelSpec.from_json((folder / "spec.json").read_text()).version == "2"
    assert ModelSpec.from_json((folder / "1" / "spec.json").read_text()).version == "1"
    assert (folder / "MODEL_CARD.md").read_text() == "card of 2\n"


def test_a_version_is_published_once(tmp_path: Path, spec: ModelSpec) -> None:
    put(tmp_path, spec, b"old")
    with pytest.raises(ExportError, match="each published once"):
        put(tmp_path, spec, b"new")
    assert (tmp_path / "small" / "1" / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("version", ["0", "01", "v1", "", "../2"])
def test_versions_are_numbers(tmp_path: Path, spec: ModelSpec, version: str) -> None:
    with pytest.raises(ExportError, match="numbers from 1"):
        put(tmp_path, replace(spec, version=version))


def test_staging_is_gone_whatever_happens(tmp_path: Path) -> None:
    def fail() -> None:
        with staging(tmp_path / "new") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_repository_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file"), staging(tmp_path / "file" / "repository"):
        pass
