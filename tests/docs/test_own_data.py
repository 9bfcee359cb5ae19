"""The way from labelled pictures to a staged model, as docs/own-data.md has it, with few pictures, pixels and steps.

From `promote` on it needs a model that has learnt something, which takes longer than a test may. The gate, loading and
switching have tests of their own: tests/training/export/gate, tests/service/models.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long
PAGE = "own-data.md"
UNTIL = "    .venv/bin/yolov7-training promote"
PICTURES = 40
MINUTES_S = 600.0
SMALLER = {
    "416x416 320x416 416x320": "128x128",
    "--size 416": "--size 128",
    "image_size=416": "image_size=128",
    "epochs=120": "epochs=1",
}


@pytest.fixture(scope="module")
def at_work(tree: Path, terminal: Callable[..., Any], shared_data: Path) -> Any:
    """A terminal in a tree that has `mine`, as a labelling tool exports it: boxes of cards, all of one class."""
    export(shared_data / "cards", tree / "mine")
    (tree / ".venv" / ".dev").touch()
    return terminal(OMP_NUM_THREADS="1")


def test_a_block_ends_well(block: Any, at_work: Any):
    commands = block.commands
    for theirs, ours in SMALLER.items():
        commands = commands.replace(theirs, ours)
    status, printed = at_work.run(commands, timeout_s=MINUTES_S)
    assert status == 0, printed


def export(cards: Path, folder: Path) -> None:
    """A set in the form of YOLO without parts, of the first pictures of a COCO set."""
    table = json.loads((cards / "train.json").read_text())
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for image in table["images"][:PICTURES]:
        shutil.copy(cards / "images" / image["file_name"], folder / "images")
        rows = [yolo(each["bbox"], image) for each in table["annotations"] if each["image_id"] == image["id"]]
        (folder / "labels" / f"{Path(image['file_name']).stem}.txt").write_text("".join(rows))
    (folder / "classes.txt").write_text("card\n")


def yolo(bbox: list[float], image: dict[str, Any]) -> str:
    """A row of a label file: class, centre and size in parts of the picture."""
    x, y, width, height = bbox
    wide, high = image["width"], image["height"]
    return f"0 {(x + width / 2) / wide} {(y + height / 2) / high} {width / wide} {height / high}\n"
