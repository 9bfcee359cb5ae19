"""Writes Grafana's dashboards from boards.py.

    .venv/bin/python deploy/grafana/build.py            writes deploy/grafana/dashboards/*.json
    .venv/bin/python deploy/grafana/build.py --check    fails where these are not what it would write

Only the standard library is used.
"""

import argparse
import json
import sys
from pathlib import Path

from boards import BOARDS

FOLDER = Path(__file__).with_name("dashboards")


def written() -> dict[Path, str]:
    """Each dashboard's file, and what belongs into it."""
    return {FOLDER / f"{board.uid}.json": json.dumps(board.document(), indent=1) + "\n" for board in BOARDS}


def main() -> None:
    """Write the files, or say which are not as they should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = written()
    for stray in set(FOLDER.glob("*.json")) - files.keys():
        sys.exit(f"{stray.name} is of no dashboard in boards.py")
    for path, text in files.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not what boards.py says: run deploy/grafana/build.py")


if __name__ == "__main__":
    main()
