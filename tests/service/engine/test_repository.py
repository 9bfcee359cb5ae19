"""Reading the model repository, whole and damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine.repository import model_names, open_model
from service.errors import RepositoryError
from service.vision.spec import ModelSpec

WriteBlocks = Callable[..., ModelSpec]


def test_names_are_the_folders_with_a_spec(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path, "zebra")
    write_blocks(tmp_path, "ant")
    (tmp_path / "notes").mkdir()
    assert model_names(tmp_path) == ("ant", "zebra")


def test_a_model_opens_with_its_graph(tmp_path: Path, write_blocks: WriteBlocks):
    spec = write_blocks(tmp_path)
    stored = open_model(tmp_path, "blocks")
    assert stored.onnx == tmp_path / "blocks" / "1" / "model.onnx"
    assert stored.spec.class_names == spec.class_names


def test_a_wrong_name_lists_what_exists(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    with pytest.raises(RepositoryError, match=r"no model 'block' in .*; there is blocks"):
        open_model(tmp_path, "block")


def test_an_absent_repository_is_said_to_be_empty(tmp_path: Path):
    with pytest.raises(RepositoryError, match="there is none at all"):
        open_model(tmp_path / "nowhere", "vehicles")


def test_a_changed_graph_is_refused(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    with (tmp_path / "blocks/1/model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(RepositoryError, match="is not the file its spec speaks of"):
        open_model(tmp_path, "blocks")


def test_a_missing_graph_is_refused(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    (tmp_path / "blocks/1/model.onnx").unlink()
    with pytest.raises(RepositoryError, match=r"model\.onnx is missing"):
        open_model(tmp_path, "blocks")


def test_a_copied_folder_is_refused(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    (tmp_path / "blocks").rename(tmp_path / "other")
    with pytest.raises(RepositoryError, match="speaks of 'blocks', not of 'other'"):
        open_model(tmp_path, "other")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": 1}'])
def test_a_damaged_spec_is_one_clear_line(tmp_path: Path, write_blocks: WriteBlocks, text: str):
    write_blocks(tmp_path)
    (tmp_path / "blocks/spec.json").write_text(text)
    with pytest.raises(RepositoryError, match=r"spec\.json: ") as caught:
        open_model(tmp_path, "blocks")
    assert "\n" not in str(caught.value)
