"""docs/paper.md names files, functions and tests; all of them exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKS = re.findall(r"`([\w/]+\.py)::([\w.]+)`", (ROOT / "docs" / "paper.md").read_text(encoding="utf-8"))


@cache
def names(path: str) -> frozenset[str]:
    """What a file defines at its top, and the methods of its classes as Class.method."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        found |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return frozenset(found)


@pytest.mark.parametrize(("path", "name"), sorted(set(LINKS)))
def test_what_the_page_names_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert name in names(path)


def test_every_line_of_the_page_names_its_test() -> None:
    lines = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| claim", "| departure"))]
    assert len(rows) > 40
    assert [row for row in rows if "`tests/" not in row] == []
