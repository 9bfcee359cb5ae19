"""Writes docs/reference: what the code says of its settings, its commands and its interfaces.

    .venv/bin/python docs/generate/pages.py            writes the pages
    .venv/bin/python docs/generate/pages.py --check    fails where one is not what it would write

`make reference` does so for docs/metrics.md, too.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import api_page
import cli_page
import settings_page

from service.settings import PREFIX

FOLDER = Path(__file__).resolve().parents[1] / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page.page,
    "cli.md": cli_page.page,
    "api.md": api_page.page,
}


def main() -> None:
    """Write the pages, or say which are others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is not up to date")
    check = parser.parse_args().check
    # Some defaults are those of the environment.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"docs/reference/{name} is not what the code says: run `make reference`")


if __name__ == "__main__":
    main()
