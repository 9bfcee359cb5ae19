"""The audit of dependencies: what could not be asked fails it, as what is vulnerable does."""

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "deploy" / "audit.py"))


def test_what_is_clean_has_no_findings(audit: dict[str, Any]):
    report = {"dependencies": [{"name": "typing-extensions", "version": "4.16.0", "vulns": []}]}
    assert audit["findings"](["typing_extensions==4.16.0"], report) == []


def test_a_vulnerability_is_named_with_its_cure(audit: dict[str, Any]):
    vulnerability = {"id": "PYSEC-2022-10", "fix_versions": ["9.0.1"], "aliases": [], "description": ""}
    report = {"dependencies": [{"name": "pillow", "version": "9.0.0", "vulns": [vulnerability]}]}
    assert audit["findings"](["pillow==9.0.0"], report) == ["pillow==9.0.0: PYSEC-2022-10, fixed in 9.0.1"]


def test_what_could_not_be_audited_fails(audit: dict[str, Any]):
    """pip-audit's own words for a package that its service does not know, with which it ends well."""
    reason = "Dependency not found on PyPI and could not be audited: idna (3.20)"
    skipped = audit["findings"](["idna==3.20"], {"dependencies": [{"name": "idna", "skip_reason": reason}]})
    left_out = audit["findings"](["idna==3.20"], {"dependencies": []})
    assert [line.partition(": could not be audited")[0] for line in (*skipped, *left_out)] == ["idna==3.20"] * 2


def test_every_pin_is_asked_for(audit: dict[str, Any], tmp_path: Path):
    path = tmp_path / "constraints.txt"
    path.write_text("# why\ntorch==2.8.0+cpu\nzope.interface==7.0\n\n")
    assert audit["pins"]([path]) == {path: ["torch==2.8.0", "zope.interface==7.0"]}
    for path, asked in audit["pins"](audit["PINNED"]).items():
        written = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert len(asked) == len(written)
