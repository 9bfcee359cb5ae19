"""The command ``check``: a set in, a table, a page and an exit status out."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from training.data.coco import DatasetError
from training.data.inspection.inspect import inspect
from training.data.inspection.page import write_page
from training.data.inspection.summary import print_summary
from training.data.parts import read_parts


def add_command(commands: Any) -> None:
    """Add it to an argparse sub-command list."""
    command = commands.add_parser("check", help="list what is wrong with a data set, with pictures")
    command.add_argument("data", type=Path, help="a COCO json, a data.yaml, or the folder of a set")
    command.add_argument("--size", type=int, default=640, help="side in pixels of training (default: 640)")
    command.add_argument("--page", type=Path, default=Path("check.html"), help="the page (default: check.html)")
    command.add_argument("--json", type=Path, help="also write the findings there")
    command.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> None:
    inspection = inspect(read_parts(arguments.data), arguments.size)
    print_summary(inspection, Console(width=120))
    write_page(inspection, f"Check of {arguments.data}", arguments.page)
    Console(highlight=False, markup=False, soft_wrap=True).print(f"written: {arguments.page}")
    if arguments.json:
        arguments.json.write_text(json.dumps(inspection.to_dict(), indent=2))
    if inspection.errors:
        raise DatasetError(f"{arguments.data} has {inspection.errors} errors")
