"""The commands ``halve`` and ``quantise``: arguments in, files written, a table out."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from training.config import load_quantisation
from training.data import open_part
from training.export.precision.files import FORMATS, NarrowFile, write_half, write_integers
from training.export.precision.recipes import RECIPES, find_recipe

_MODEL = "model.onnx of a version in the repository; the new file lies beside it"


def add_commands(commands: Any) -> None:
    """Add both to an argparse sub-command list."""
    command = commands.add_parser("halve", help="make a strongly typed FP16 file of a published model.onnx")
    command.add_argument("model", type=Path, help=_MODEL)
    command.add_argument("--data", type=Path, help="a set, some pictures of which join the comparison")
    command.set_defaults(run=_halve)

    command = commands.add_parser("quantise", help="make INT8 files of a published model.onnx")
    command.add_argument("model", type=Path, help=_MODEL)
    command.add_argument("--data", type=Path, required=True, help="a set, of which the part train is learnt from")
    text = f"a TOML file, or one of {', '.join(RECIPES)} (default: that of the variant)"
    command.add_argument("--recipe", help=text)
    text = "openvino: model.int8.xml, for the embedded engine; onnx: model.int8.onnx, for TensorRT (default: both)"
    command.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help=text)
    command.set_defaults(run=_quantise)


def _halve(arguments: argparse.Namespace) -> None:
    _print(write_half(arguments.model, open_part(arguments.data, "val") if arguments.data else None))


def _quantise(arguments: argparse.Namespace) -> None:
    recipe = load_quantisation(find_recipe(arguments.recipe, arguments.model))
    for file in write_integers(arguments.model, open_part(arguments.data, "train"), recipe, arguments.formats):
        _print(file)


def _print(file: NarrowFile) -> None:
    console = Console(width=120, highlight=False, soft_wrap=True)
    console.print(f"{file.path}, {file.size / 1e6:.1f} MB, against model.onnx in float32:")
    table = Table("input shape", "boxes, px", "scores", "predictions", "classes")
    for (height, width), found in file.agreements.items():
        means = [f"{mean:.2g}, at most {most:.2g}" for mean, most in (found.boxes_px, found.scores)]
        shares = [f"{100 * share:.1f} %" for share in (found.predictions, found.classes)]
        table.add_row(f"{height}x{width}", *means, *shares)
    console.print(table)
