"""Whoever follows a link in the documents arrives: the file is there, and so is the heading."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/*.md", "docs/**/*.md", "model_repository/*/*.md")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.*?)(?: +#+)?$", re.MULTILINE)


def pages() -> list[Path]:
    return sorted({page for pattern in PAGES for page in ROOT.glob(pattern)})


def links() -> list[Any]:
    """Each relative link with the page that it is on."""
    found = [(page, link) for page in pages() for link in links_of(page.read_text(encoding="utf-8"))]
    return [pytest.param(page, link, id=f"{page.relative_to(ROOT)}: {link}") for page, link in found]


def links_of(text: str) -> list[str]:
    """Targets of relative links; what stands in code is none."""
    prose = CODE.sub("", FENCE.sub("", text))
    return sorted({target for target in LINK.findall(prose) if not re.match(r"[a-z][a-z0-9+.-]*:", target)})


def anchors_of(text: str) -> set[str]:
    """Names of the headings as GitHub makes them: the second of the same name has -1."""
    names: list[str] = []
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower().strip()
        kept = "".join(c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LNM")
        slug = kept.replace(" ", "-")
        again = names.count(slug)
        names.append(slug)
        if again:
            names.append(f"{slug}-{again}")
    return set(names)


@pytest.mark.parametrize(("page", "link"), links())
def test_a_link_leads_somewhere(page: Path, link: str):
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), f"no {target.relative_to(ROOT)}"
    if anchor:
        assert target.suffix == ".md", "only pages have headings"
        assert anchor in anchors_of(target.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("**/*.md")), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_index_names_every_page(page: Path):
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / link.partition("#")[0]).resolve() for link in links_of(index.read_text(encoding="utf-8"))}
    assert page == index or page in named


def test_anchors_are_githubs():
    page = "# One, two\n\n## `make` it [so](x.md)\n\n## So\n## So\n\n```sh\n# no heading\n```\n"
    assert anchors_of(page) == {"one-two", "make-it-so", "so", "so-1"}
    assert links_of("[a](b.md) `[c](d.md)` [e](http://f) ![g](h.png#i)") == ["b.md", "h.png#i"]
