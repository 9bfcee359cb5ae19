"""The command ``promote``: arguments in, the gate's verdict as a table out."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from training.data import open_part
from training.evaluate import Endpoint
from training.evaluate.endpoint import read_key
from training.export.gate.layers import Layer
from training.export.gate.page import HEADS
from training.export.gate.promote import promote
from training.export.gate.request import Request
from training.export.gate.staged import ENGINES
from training.export.gate.verdict import Bounds
from training.export.session import ExportError


def add_command(commands: Any) -> None:
    """Add it to an argparse sub-command list."""
    bounds = Bounds()
    command = commands.add_parser("promote", help="try every engine of a staged model, publish it if all hold")
    command.add_argument("staged", type=Path, help="a model's folder in a staging repository, or a version's")
    command.add_argument("--data", type=Path, required=True, help="a COCO json, or a set, of which val is taken")
    text = "where it is published (default: model_repository)"
    command.add_argument("--repository", type=Path, default=Path("model_repository"), help=text)
    command.add_argument("--name", default="", help="name of the published model (default: that of the staged one)")
    command.add_argument("--checkpoint", type=Path, help="the parent (default: the staged model.onnx itself)")
    text = f"what to try: {', '.join(ENGINES)} (default: all that there are files for)"
    command.add_argument("--engines", choices=ENGINES, nargs="+", default=[], metavar="NAME", help=text)
    command.add_argument("--url", default="", help="a running service that has it loaded: its engine is tried too")
    text = "file with the API key that --url asks for (default: what YOLOV7_KEY holds)"
    command.add_argument("--key-file", type=Path, metavar="FILE", help=text)
    text = f"points of AP that an engine may lose (default: {bounds.drop:g})"
    command.add_argument("--max-drop", type=float, default=bounds.drop, metavar="POINTS", help=text)
    text = f"points that one class may lose (default: {bounds.class_drop:g})"
    command.add_argument("--max-class-drop", type=float, default=bounds.class_drop, metavar="POINTS", help=text)
    text = f"least share of boxes that the parent has too (default: {bounds.alike:g})"
    command.add_argument("--min-agreement", type=float, default=bounds.alike, metavar="SHARE", help=text)
    command.set_defaults(run=_promote)


def _promote(arguments: argparse.Namespace) -> None:
    promotion = promote(
        Request(
            staged=arguments.staged,
            repository=arguments.repository,
            dataset=open_part(arguments.data, "val"),
            data=arguments.data.name,
            name=arguments.name,
            checkpoint=arguments.checkpoint,
            engines=tuple(arguments.engines),
            elsewhere=Endpoint(arguments.url, read_key(arguments.key_file)) if arguments.url else None,
            bounds=Bounds(arguments.max_drop, arguments.max_class_drop, arguments.min_agreement),
            command=shlex.join(["yolov7-training", *arguments.argv]),
        )
    )
    console = Console(width=180)
    console.print(_table(HEADS, promotion.table, f"{arguments.staged} on {arguments.data}"))
    for engine, layers in promotion.layers.items():
        console.print(_layers(engine, layers))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for note in promotion.notes:
        console.print(note)
    if promotion.folder is None:
        raise ExportError(promotion.refusal)
    console.print(f"published: {promotion.folder}")


def _layers(engine: str, layers: Sequence[Layer]) -> Table:
    rows = [(layer.name, f"{layer.own:.1f}", f"{layer.reached:.1f}") for layer in layers]
    heads = ("layer", "by itself, dB", "with all before it, dB")
    return _table(heads, rows, f"noisiest layers of {engine}: signal to noise")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> Table:
    table = Table(*heads, title=escape(title))
    for row in rows:
        table.add_row(*map(escape, row))  # a class may be called [Bus]
    return table
