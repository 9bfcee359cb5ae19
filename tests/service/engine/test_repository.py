"""Reading the model repository, whole and damaged."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.engine.repository import current_mark, make_current, model_names, open_model, version_names
from service.errors import RepositoryError
from service.vision.spec import ModelSpec

WriteBlocks = Callable[..., ModelSpec]


def test_names_are_the_folders_with_a_spec(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path, "zebra")
    write_blocks(tmp_path, "ant")
    (tmp_path / "notes").mkdir()
    assert model_names(tmp_path) == ("ant", "zebra")


def test_what_a_killed_publication_left_is_no_model(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    shutil.copytree(tmp_path / "blocks", tmp_path / ".staged-1a2b")
    assert model_names(tmp_path) == ("blocks",)


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
    with pytest.raises(RepositoryError, match=r"other/spec\.json speaks of blocks/1"):
        open_model(tmp_path, "other")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": 1}'])
def test_a_damaged_spec_is_one_clear_line(tmp_path: Path, write_blocks: WriteBlocks, text: str):
    write_blocks(tmp_path)
    (tmp_path / "blocks/spec.json").write_text(text)
    with pytest.raises(RepositoryError, match=r"spec\.json: ") as caught:
        open_model(tmp_path, "blocks")
    assert "\n" not in str(caught.value)


def test_versions_are_the_numbered_folders_with_a_spec_in_the_order_of_numbers(
    tmp_path: Path, write_blocks: WriteBlocks
):
    for version in ("10", "9", "2"):
        write_blocks(tmp_path, "blocks", version)
    for odd in ("draft", "3"):
        (tmp_path / "blocks" / odd).mkdir()
    (tmp_path / "blocks/draft/spec.json").write_text("{}")
    assert version_names(tmp_path, "blocks") == ("2", "9", "10")
    assert version_names(tmp_path, "cars") == ()


def test_a_version_opens_whichever_is_current(tmp_path: Path, write_blocks: WriteBlocks):
    for version in ("1", "2"):
        write_blocks(tmp_path, "blocks", version)
    assert open_model(tmp_path, "blocks").spec.version == "2"
    assert open_model(tmp_path, "blocks", "1").spec.version == "1"
    assert open_model(tmp_path, "blocks", "1").onnx == tmp_path / "blocks/1/model.onnx"


@pytest.mark.parametrize("version", ["3", "..", "../blocks/1", ""])
def test_a_wrong_version_lists_what_exists(tmp_path: Path, write_blocks: WriteBlocks, version: str):
    for known in ("1", "2"):
        write_blocks(tmp_path, "blocks", known)
    with pytest.raises(RepositoryError, match=r"has no version '.*'; there is 1, 2"):
        open_model(tmp_path, "blocks", version)


def test_a_version_that_speaks_of_another_is_refused(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    (tmp_path / "blocks/1").rename(tmp_path / "blocks/2")
    with pytest.raises(RepositoryError, match=r"2/spec\.json speaks of blocks/1"):
        open_model(tmp_path, "blocks", "2")


def test_a_version_that_is_no_number_is_refused(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path, "blocks", "latest")
    with pytest.raises(RepositoryError, match="names version 'latest', which is not a number"):
        open_model(tmp_path, "blocks")


def test_a_graph_that_cannot_be_read_is_one_clear_line(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    (tmp_path / "blocks/1/model.onnx").unlink()
    # A file that is there and that nobody can read, not even root.
    (tmp_path / "blocks/1/model.onnx").symlink_to("/proc/self/mem")
    with pytest.raises(RepositoryError, match=r"model\.onnx cannot be read: ") as caught:
        open_model(tmp_path, "blocks")
    assert "\n" not in str(caught.value)


def test_the_mark_is_another_one_whenever_the_current_version_is_written(tmp_path: Path, write_blocks: WriteBlocks):
    for version in ("2", "1"):
        write_blocks(tmp_path, "blocks", version)
    before = current_mark(tmp_path, "blocks")
    assert current_mark(tmp_path, "blocks") == before
    assert before is not None
    marks = [before]
    for version in ("2", "1", "1"):
        time.sleep(0.01)
        make_current(tmp_path, "blocks", version)
        marks.append(current_mark(tmp_path, "blocks"))
    assert [version for version, _ in marks] == ["1", "2", "1", "1"]
    assert len(set(marks)) == 4


@pytest.mark.parametrize("text", [None, "{"])
def test_what_cannot_be_read_has_no_mark(tmp_path: Path, write_blocks: WriteBlocks, text: str | None):
    write_blocks(tmp_path)
    path = tmp_path / "blocks/spec.json"
    path.unlink() if text is None else path.write_text(text)
    assert current_mark(tmp_path, "blocks") is None


def test_what_is_made_current_opens_and_is_the_same_to_the_last_number(tmp_path: Path, write_blocks: WriteBlocks):
    for version in ("2", "1"):
        write_blocks(tmp_path, "blocks", version)
    make_current(tmp_path, "blocks", "2")
    assert open_model(tmp_path, "blocks").spec.to_json() == open_model(tmp_path, "blocks", "2").spec.to_json()
    assert sorted(path.name for path in (tmp_path / "blocks").iterdir()) == ["1", "2", "spec.json"]


def test_a_reader_never_finds_half_of_a_change(tmp_path: Path, write_blocks: WriteBlocks):
    for version in ("2", "1"):
        write_blocks(tmp_path, "blocks", version)
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            for version in ("2", "1"):
                make_current(tmp_path, "blocks", version)

    with ThreadPoolExecutor() as threads:
        changing = threads.submit(change)
        found = {open_model(tmp_path, "blocks").spec.version for _ in range(200)}
        over.set()
        changing.result()
    assert found == {"1", "2"}


def test_what_cannot_be_made_current_changes_nothing(tmp_path: Path, write_blocks: WriteBlocks):
    write_blocks(tmp_path)
    before = current_mark(tmp_path, "blocks")
    with pytest.raises(RepositoryError, match=r"2/spec\.json"):
        make_current(tmp_path, "blocks", "2")
    # In the way of the file that would be renamed: a read-only folder would not stop root.
    (tmp_path / f"blocks/.spec.json.{os.getpid()}").mkdir()
    with pytest.raises(RepositoryError, match=r"spec\.json cannot be written: "):
        make_current(tmp_path, "blocks", "1")
    assert current_mark(tmp_path, "blocks") == before
