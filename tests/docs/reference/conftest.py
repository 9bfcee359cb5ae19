"""The pages of docs/reference, and what writes them."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
FOLDER = DOCS / "reference"
sys.path.insert(0, str(DOCS / "generate"))


@pytest.fixture(scope="session")
def page() -> Callable[[str], str]:
    """The text of a page: (name)."""
    return lambda name: (FOLDER / name).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def section() -> Callable[[str, str], str]:
    """What stands below a heading, up to the next one: (text, heading)."""

    def find(text: str, heading: str) -> str:
        found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        assert found, heading
        return found[1]

    return find
