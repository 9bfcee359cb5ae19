"""deploy/SECURITY.md: each file and each test that it names as what holds is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "deploy" / "SECURITY.md").read_text()


def test_what_it_relies_on_exists():
    named = re.findall(r"`((?:tests|service|training|deploy)/[\w/.]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 40
    for path, test in named:
        text = (ROOT / path).read_text()
        assert not test or re.search(rf"def {test}\(", text), f"{path} has no {test}"


def test_every_entry_names_what_holds():
    table = TEXT.partition("## What holds\n")[2].partition("\n## ")[0].strip().splitlines()[2:]
    assert all(re.search(r"\.py", line.rpartition(" | ")[2]) for line in table)
