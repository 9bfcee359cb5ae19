"""The command ``yolov7-training``: describe, train, evaluate, import, export. Parses and prints; the work is done elsewhere."""

import argparse
import json
import logging
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from training.checkpoint import CheckpointError, load_network
from training.checkpoint.download import download
from training.checkpoint.official import import_official
from training.config import ConfigError, load_config
from training.data import CocoDataset, DatasetError
from training.evaluate import Evaluation, detect, score, torch_infer
from training.nets import VARIANTS, DeployModel
from training.nets.describe import describe_variant
from training.train import NonFiniteLoss, train

_CONFIGS = Path(__file__).parent / "configs"


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 the work failed with one clear line, 2 wrong arguments."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        arguments.run(arguments)
    except (CheckpointError, ConfigError, DatasetError, NonFiniteLoss) as exc:
        print(f"yolov7-training: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("yolov7-training", description="Train, score and publish YOLOv7 detectors.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("describe", help="parameters and GFLOPs of the variants, beside the paper's")
    command.add_argument("variant", nargs="?", choices=sorted(VARIANTS))
    command.set_defaults(run=_describe)

    command = commands.add_parser("train", help="train on a COCO-format set; resumes if the run folder holds a run")
    command.add_argument(
        "--config", type=Path, default=Path("small"), help="a recipe: a TOML file, or p5, tiny, small (default: small)"
    )
    command.add_argument("--data", type=Path, required=True, help="folder with train.json, val.json and images/")
    command.add_argument(
        "--run", dest="folder", type=Path, required=True, help="folder of the run: results, checkpoints, curve"
    )
    command.add_argument(
        "--weights", type=Path, help="checkpoint to start from: tensors of the same name and shape are taken"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the recipe, e.g. optimizer.learning_rate=0.005",
    )
    command.set_defaults(run=_train)

    command = commands.add_parser("evaluate", help="AP of a checkpoint by the protocol that serves")
    command.add_argument("checkpoint", type=Path)
    command.add_argument("--data", type=Path, required=True, help="a COCO json; its images lie in images/ beside it")
    command.add_argument(
        "--shapes",
        type=_shape,
        nargs="+",
        default=[(640, 640)],
        metavar="HxW",
        help="served input shapes (default: 640x640)",
    )
    command.add_argument("--json", type=Path, help="also write the figures there")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("import", help="read an official YOLOv7 file, executing nothing in it")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file", type=Path, nargs="?", help="an official .pt, or a state_dict with official keys (.pt, .safetensors)"
    )
    source.add_argument(
        "--download",
        metavar="NAME",
        help="fetch an official file first, e.g. yolov7-tiny (GPL-3.0 weights: your choice)",
    )
    command.add_argument(
        "--variant", choices=sorted(VARIANTS), help="where shapes alone cannot tell (tiny or tiny-silu)"
    )
    command.add_argument("--out", type=Path, help="our checkpoint (default: FILE.checkpoint.pt in the working folder)")
    command.set_defaults(run=_import)
    return parser


def _describe(arguments: argparse.Namespace) -> None:
    table = Table(title="one multiply-accumulate = 2 FLOPs, convolutions and their biases, fused deploy graph")
    rows = [describe_variant(VARIANTS[name]) for name in ([arguments.variant] if arguments.variant else VARIANTS)]
    raise NotImplementedError(table, rows)


def _train(arguments: argparse.Namespace) -> None:
    path = arguments.config if arguments.config.suffix else _CONFIGS / f"{arguments.config}.toml"
    config = load_config(path, dict(_override(item) for item in arguments.set))
    train_set = CocoDataset.open(arguments.data / "train.json")
    val_set = CocoDataset.open(arguments.data / "val.json")
    best = train(config, train_set, val_set=val_set, folder=arguments.folder, weights=arguments.weights)
    Console().print(evaluation_table(best, f"best epoch of {arguments.folder}"))


def _evaluate(arguments: argparse.Namespace) -> None:
    network, _ = load_network(arguments.checkpoint)
    dataset = CocoDataset.open(arguments.data)
    evaluation = score(
        dataset,
        detect(torch_infer(DeployModel(network).eval(), torch.device("cpu")), dataset, shapes_hw=arguments.shapes),
    )
    Console().print(evaluation_table(evaluation, f"{arguments.checkpoint} on {arguments.data}"))
    if arguments.json:
        arguments.json.write_text(json.dumps(evaluation.to_dict(), indent=2))


def _import(arguments: argparse.Namespace) -> None:
    file = arguments.file or download(arguments.download, Path.cwd())
    checkpoint, report = import_official(file, variant=arguments.variant)
    out = arguments.out or Path(f"{file.stem}.checkpoint.pt")
    checkpoint.save(out)
    print(report)
    print(f"written: {out}")


def evaluation_table(evaluation: Evaluation, title: str) -> Table:
    """Return AP over all sizes and per class as a table, in points of 100."""
    table = Table("class", "AP", "AP50", title=title)
    table.add_row("all", f"{100 * evaluation.ap:.1f}", f"{100 * evaluation.ap50:.1f}")
    for name, scores in evaluation.per_class.items():
        table.add_row(name, f"{100 * scores.ap:.1f}", f"{100 * scores.ap50:.1f}")
    return table


def _shape(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def _override(item: str) -> tuple[str, Any]:
    """Read ``key=value``, the value as TOML, a bare word as a string. Raises ConfigError."""
    key, equals, value = item.partition("=")
    if not equals:
        raise ConfigError(f"--set takes KEY=VALUE, not {item!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


if __name__ == "__main__":
    sys.exit(main())
