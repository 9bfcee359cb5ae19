"""What rectangles cost in accuracy: AP of a checkpoint at one square, and at a set of shapes that fit each image.

    .venv/bin/python bench/shapes.py CHECKPOINT DATA/val.json --square 416 --rect 416x416 320x416 416x320

Both by the trainer's own protocol, letterbox and postprocess; only the input shapes differ. The pixels are those of the
inputs, padding included: what an engine's time goes by.
"""

import argparse
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pair import parse_pair
from rich.console import Console
from rich.table import Table
from rounds import save

from service.vision.letterbox import choose_shape
from training.checkpoint import load_network
from training.data import CocoDataset
from training.evaluate import Evaluation, detect, max_candidates, score, torch_infer
from training.nets import DeployModel, Network

Shapes = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Row:
    """One set of input shapes and what came of it."""

    evaluation: Evaluation
    pixels: float  # of the mean input
    seconds: float


def main() -> None:
    """Evaluate twice, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="a COCO json; its images lie in images/ beside it")
    parser.add_argument("--square", type=int, default=640, help="side of the square (default: 640)")
    parser.add_argument("--rect", type=parse_pair, nargs="+", required=True, metavar="HxW", help="the set of shapes")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    arguments = parser.parse_args()
    network, _ = load_network(arguments.checkpoint)
    dataset = CocoDataset.open(arguments.data)
    rows: dict[str, Row] = {}
    for shapes in ([(arguments.square, arguments.square)], arguments.rect):
        name = " ".join(f"{height}x{width}" for height, width in shapes)
        print(f"evaluating {len(dataset)} images at {name} ...")
        rows[name] = _evaluate(network, dataset, shapes)
    _print(rows)
    save(arguments.out, rows={name: asdict(row) for name, row in rows.items()})


def _evaluate(network: Network, dataset: CocoDataset, shapes: Shapes) -> Row:
    model = DeployModel(network, max_candidates(network, shapes)).eval()
    started = time.perf_counter()
    found = list(detect(torch_infer(model, torch.device("cpu")), dataset, shapes_hw=shapes))
    seconds = time.perf_counter() - started
    pixels = [math.prod(choose_shape((image.height, image.width), shapes)) for image in dataset.images]
    return Row(score(dataset, found), statistics.fmean(pixels), seconds)


def _print(rows: dict[str, Row]) -> None:
    table = Table("input shapes", "AP", "AP50", "AP75", "pixels an image", "seconds", title="points of 100")
    for name, row in rows.items():
        found = row.evaluation
        points = (f"{100 * value:.2f}" for value in (found.ap, found.ap50, found.ap75))
        table.add_row(name, *points, f"{row.pixels:,.0f}", f"{row.seconds:.1f}")
    square, rectangles = rows.values()
    changes = [
        f"{100 * (getattr(rectangles.evaluation, name) - getattr(square.evaluation, name)):+.2f}"
        for name in ("ap", "ap50", "ap75")
    ]
    table.add_row("difference", *changes, f"×{rectangles.pixels / square.pixels:.3f}", "")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
