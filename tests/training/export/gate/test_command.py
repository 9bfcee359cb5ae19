"""What ``promote`` prints."""

import json
import shutil
from pathlib import Path

import pytest

from training.__main__ import main
from training.data import CocoDataset
from training.export.precision import write_half


@pytest.fixture
def data(seen_set: CocoDataset, tmp_path: Path) -> Path:
    """The set in a folder with a space in its name, whose classes have names that a terminal could take for colours."""
    folder = tmp_path / "my set"
    shutil.copytree(seen_set.images[0].path.parents[1], folder)
    table = json.loads((folder / "val.json").read_text())
    for category in table["categories"]:
        category["name"] = f"[red] {category['id']}"
    (folder / "val.json").write_text(json.dumps(table))
    return folder


def test_the_table_is_printed_as_it_is_and_the_command_is_one_to_repeat(
    staged: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(staged, tmp_path / "small")
    write_half(tmp_path / "small" / "1" / "model.onnx")
    out = tmp_path / "out"
    given = ["promote", str(tmp_path / "small"), "--data", str(data), "--repository", str(out), "--engines", "fp16"]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert "[red] " in printed
    assert f"published: {out / 'small' / '1'}" in printed
    assert f"--data '{data}'" in (out / "small" / "MODEL_CARD.md").read_text()


def test_a_key_that_cannot_be_read_ends_in_one_line(
    staged: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["promote", str(staged), "--data", str(data), "--url", "http://127.0.0.1:9", "--key-file"]
    assert main([*given, str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
