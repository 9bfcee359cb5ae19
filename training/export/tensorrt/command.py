"""The command ``compile``: arguments in, a plan written, a few lines out."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from training.export.tensorrt.builder import TensorrtBuilder
from training.export.tensorrt.compile import Options, compile_plan
from training.export.tensorrt.progress import BuildProgress


def add_command(commands: Any) -> None:
    """Add it to an argparse sub-command list."""
    defaults = Options()
    command = commands.add_parser(
        "compile", help="build a TensorRT plan, inside NVIDIA's image, on the GPU that serves it"
    )
    command.add_argument("model", type=Path, help="model.fp16.onnx, model.int8.onnx or model.onnx of a version")
    command.add_argument(
        "--repository", type=Path, required=True, help="where plans lie: a repository of this GPU's own"
    )
    text = f"steps of batch sizes, each fastest at its end (default: {' '.join(map(str, defaults.batches))})"
    command.add_argument("--batches", type=int, nargs="+", default=list(defaults.batches), metavar="N", help=text)
    text = "GiB that a kernel may take for itself (default: 4)"
    command.add_argument("--workspace", type=float, default=defaults.workspace_bytes / 2**30, metavar="GIB", help=text)
    text = f"0 to 5: how long TensorRT looks for faster kernels (default: {defaults.level})"
    command.add_argument("--level", type=int, choices=range(6), default=defaults.level, metavar="N", help=text)
    command.set_defaults(run=_compile)


def _compile(arguments: argparse.Namespace) -> None:
    options = Options(tuple(arguments.batches), int(arguments.workspace * 2**30), arguments.level)
    made = compile_plan(arguments.model, arguments.repository, TensorrtBuilder(), options, BuildProgress())
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{made.plan}, {made.size / 1e6:.1f} MB, {len(made.profiles)} profiles, {made.seconds:.0f} s")
    console.print(", ".join(f"{name} {value}" for name, value in made.versions.items()))
