"""docs/metrics.md is what the code says, and the labels of a service under load say what it says they may."""

import subprocess
import sys

import pytest

from .conftest import DEPLOY, Watched

# Where the metrics of one kind are kept apart from another's of the same name.
NAMES = {"frames": "frames_total", "images": "images_total", "rejected": "rejected_total", "dropped": "dropped_total"}


def test_the_page_is_what_the_code_says():
    command = [sys.executable, DEPLOY / "monitoring" / "metrics_page.py", "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def documented() -> dict[str, tuple[str, ...]]:
    from metrics_page import VALUES

    return VALUES


@pytest.mark.parametrize("name", documented())
def test_labels_say_what_the_page_says_they_may(watched: Watched, name: str):
    series, _, label = name.rpartition(".")
    selector = f"yolov7_{NAMES[series]}" if series else '{__name__=~"yolov7_.*"}'
    found = watched.query(f"group by ({label}) ({selector})")
    values = {told["metric"].get(label) for told in found} - {None}
    assert values
    assert values <= set(documented()[name])
