"""The command ``import``: an official file in, our checkpoint and what was taken out."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from training.checkpoint.download import OFFICIAL_FILES, OFFICIAL_URL, download
from training.checkpoint.official import ImportReport, import_official
from training.nets import VARIANTS

_console = Console(highlight=False, markup=False, soft_wrap=True)


def add_command(commands: Any) -> None:
    """Add it to an argparse sub-command list."""
    command = commands.add_parser("import", help="read an official YOLOv7 file, executing nothing in it")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("file", type=Path, nargs="?", help="official .pt, or state_dict with official keys")
    text = f"fetch it first, instead of FILE: {', '.join(OFFICIAL_FILES)}"
    source.add_argument("--download", choices=OFFICIAL_FILES, metavar="NAME", help=text)
    command.add_argument("--url", default=OFFICIAL_URL, help="where --download looks (default: %(default)s)")
    command.add_argument(
        "--variant",
        choices=VARIANTS,
        help="where shapes alone cannot tell, as of tiny and tiny-silu (default: what the shapes say)",
    )
    command.add_argument("--out", type=Path, help="our checkpoint (default: FILE.checkpoint.pt in this folder)")
    command.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> None:
    file = arguments.file or download(arguments.download, Path.cwd(), base_url=arguments.url)
    checkpoint, report = import_official(file, variant=arguments.variant)
    out = arguments.out or Path(f"{file.stem}.checkpoint.pt")
    checkpoint.save(out)
    _print_import(report)
    _console.print(f"written: {out}")


def _print_import(report: ImportReport) -> None:
    form = f"{report.form} form, {report.num_classes} classes{', fused' if report.fused else ''}"
    _console.print(f"{report.variant}: {form}; {report.taken} tensors taken")
    for title, names in (("missing", report.missing), ("unexpected", report.unexpected), ("skipped", report.skipped)):
        if names:
            _console.print(f"{title} ({len(names)}): {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}")
