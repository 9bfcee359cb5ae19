"""Asks whether a version that is pinned has a known vulnerability. `make audit` installs pip-audit for it and runs it.

A package that could not be audited fails it: pip-audit by itself calls such a package skipped, and the whole clean. It
asks first for a release that is known to be vulnerable, since a service that knows nothing of that one knows nothing.
Ends with 0: all were audited and none has any; 1: some have, or could not be audited; 3: no service answers.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINNED = (ROOT / "constraints.txt", ROOT / "deploy" / "triton" / "constraints.txt")
VULNERABLE = "pillow==9.0.0"
NO_SERVICE = 3
TIMEOUT_S = 600


def pins(paths: Sequence[Path]) -> dict[Path, list[str]]:
    """The pins of each file. A build such as torch 2.8.0+cpu goes by the version that it is a build of."""
    return {
        path: [re.sub(r"\+[\w.]+", "", line) for line in path.read_text().splitlines() if re.match(r"[\w.-]+==", line)]
        for path in paths
    }


def findings(asked: Sequence[str], report: dict[str, Any]) -> list[str]:
    """A line for each thing that is amiss in what pip-audit answered; nothing where all is well."""
    told = {_plain(entry["name"]): entry for entry in report["dependencies"]}
    lines = []
    for pin in asked:
        name = _plain(pin.partition("==")[0])
        entry = told.get(name, {"skip_reason": "pip-audit says nothing of it"})
        if "skip_reason" in entry:
            lines.append(f"{pin}: could not be audited: {entry['skip_reason']}")
        for known in entry.get("vulns", []):
            fixed = ", ".join(known["fix_versions"]) or "no version"
            lines.append(f"{pin}: {known['id']}, fixed in {fixed}")
    return lines


def audited(asked: Sequence[str], options: Sequence[str]) -> dict[str, Any] | None:
    """pip-audit's report; None where it could not finish."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(asked) + "\n")
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
        command += ["--no-deps", "--disable-pip", "--requirement", file.name, *options]
        ran = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - fixed words
    try:
        report: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        sys.stderr.write(ran.stderr.decode().strip().rpartition("\n")[2] + "\n")
        return None
    return report


def main(options: Sequence[str]) -> int:
    """`options` are pip-audit's, such as --ignore-vuln ID or --vulnerability-service osv."""
    known = audited([VULNERABLE], options)
    if known is None or not any("vulns" in entry and entry["vulns"] for entry in known["dependencies"]):
        sys.stderr.write(f"NOTHING was audited: no vulnerability service answers for {VULNERABLE}\n")
        return NO_SERVICE
    amiss = []
    for path, asked in pins(PINNED).items():
        report = audited(asked, options)
        amiss += [f"{path.relative_to(ROOT)}: pip-audit did not finish"] if report is None else findings(asked, report)
        sys.stdout.write(f"{path.relative_to(ROOT)}: {len(asked)} packages asked for\n")
    sys.stdout.write("\n".join([*amiss, ""]) or "all were audited, and none has a known vulnerability\n")
    return 1 if amiss else 0


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
