"""What the code writes is what lies here, and every link of it leads somewhere."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from .conftest import DOCS, FOLDER

PAGES = ("settings.md", "cli.md", "api.md")
LINK = re.compile(r"\]\(([^)#]*)(#[^)]*)?\)")


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DOCS / "generate" / "pages.py", "--check"]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)


def test_every_page_is_what_the_code_says_whatever_the_environment():
    done = check(COLUMNS="40", YOLOV7_PORT="9", YOLOV7_TLS_CERTIFICATE="x", YOLOV7_PROT="1")
    assert done.returncode == 0, done.stderr


def test_there_is_no_page_that_nothing_writes():
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(page: Callable[[str], str], name: str):
    from markup import anchor

    headings = [anchor(heading) for heading in re.findall(r"^#+ (.*)$", page(name), re.MULTILINE)]
    assert len(headings) == len(set(headings))
    for path, place in LINK.findall(page(name)):
        assert (FOLDER / path).exists(), path
        assert path or place in headings, place


def test_what_markdown_would_take_for_its_own_is_not():
    from markup import code, plain, table

    assert plain("a <photo>\n of [x] * `<b>|`") == r"a \<photo> of \[x] \* `<b>\|`"
    assert (code("a|b"), code("")) == (r"`a\|b`", "")
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    assert table(("a",), []) == ""
    with pytest.raises(ValueError, match="code without an end"):
        plain("an `end")
