"""What run.json says of the code."""

import os
import re
import subprocess
from pathlib import Path

from training.train.record import _code


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def test_the_commit_is_that_of_the_repository_that_tracks_the_code(tmp_path: Path):
    """A user's own repository, with packages installed inside of it, is none."""
    file = tmp_path / "training" / "train" / "record.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "theirs", "--allow-empty")
    assert _code(file) == {"commit": os.environ.get("GIT_COMMIT"), "changed": None}
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "the code")
    assert re.fullmatch("[0-9a-f]{40}", _code(file)["commit"])
    assert _code(file)["changed"] is False
    file.write_text("new")
    assert _code(file)["changed"] is True
