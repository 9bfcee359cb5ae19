"""What the pages are made of: tables, code, and text that Markdown leaves as it is."""

import re
from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """As code; nothing where there is no text. A bar would end a table's cell."""
    return f"`{text}`".replace("|", r"\|") if text else ""


def plain(text: str) -> str:
    """A text of the program in one line: what it has in `…` stays code, and a page of docs/ becomes a link."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        raise ValueError(f"code without an end: {text}")
    for place in range(0, len(parts), 2):
        escaped = re.sub(r"[<*\[]", r"\\\g<0>", parts[place])
        parts[place] = re.sub(r"docs/(\w+\.md)", r"[docs/\1](../\1)", escaped)
    return "`".join(parts).replace("|", r"\|")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, with an empty line behind it; nothing where there are no rows."""
    lines = [_line(row) for row in rows]
    return "".join([_line(heads), "|---" * len(heads) + "|\n", *lines, "\n"]) if lines else ""


def anchor(heading: str) -> str:
    """Where a link to a heading leads, as GitHub names it."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return "#" + kept.replace(" ", "-")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
