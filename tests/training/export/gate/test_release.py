"""The published version: only what was tried, under the next number, and a failure that keeps what was measured."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from training.data import CocoDataset
from training.export.gate import Request
from training.export.gate.offline import try_offline
from training.export.gate.parent import Parent
from training.export.gate.release import Release
from training.export.gate.staged import read_staged
from training.export.gate.subject import Subject
from training.export.gate.trials import Findings
from training.export.precision import write_half
from training.export.session import ExportError

FILE = "model.fp16.onnx"


@pytest.fixture
def release(staged: Path, seen_set: CocoDataset, subject: Subject, parent_found: Parent, tmp_path: Path) -> Release:
    """The small model with an FP16 file, tried."""
    shutil.copytree(staged, tmp_path / "small")
    write_half(tmp_path / "small" / "1" / "model.onnx")
    version = read_staged(tmp_path / "small")
    found = Findings([try_offline(version.folder / FILE, subject)], digests={FILE: version.digests(FILE)})
    return Release(Request(version.folder, tmp_path / "out", seen_set, "val.json"), version, parent_found, found)


def test_of_two_promotions_at_once_each_gets_a_number(release: Release) -> None:
    assert [release.publish().name, release.publish().name] == ["1", "2"]
    assert sorted(path.name for path in release.request.repository.iterdir()) == ["small"]


def test_a_file_that_was_made_anew_meanwhile_is_not_published(release: Release) -> None:
    with (release.staged.folder / FILE).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ExportError, match=r"model\.fp16\.onnx was changed while it was tried"):
        release.publish()
    assert list(release.request.repository.iterdir()) == []


def test_a_model_onnx_that_was_exported_anew_meanwhile_is_not_published(release: Release) -> None:
    with release.staged.onnx.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ExportError, match=r"model\.onnx was changed while it was tried"):
        release.publish()


def test_a_model_onnx_that_is_neither_tried_nor_the_parent_is_not_published(release: Release) -> None:
    against_checkpoint = replace(release, request=replace(release.request, checkpoint=Path("best.pt")))
    with pytest.raises(ExportError, match=r"no version is without model\.onnx, which was not tried"):
        against_checkpoint.publish()
    assert not release.request.repository.exists()


def test_a_repository_that_cannot_be_written_is_named(release: Release) -> None:
    release.request.repository.write_text("a file")
    with pytest.raises(ExportError, match="out"):
        release.publish()
