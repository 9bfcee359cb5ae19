"""The command ``yolov7-training``: describe, train, evaluate, import, export. Parses and prints; others do the work."""

import argparse
import json
import logging
import shlex
import signal
import sys
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from training.checkpoint import CheckpointError
from training.checkpoint.command import add_command as add_import
from training.config import ConfigError, load_config
from training.data import CocoDataset, DatasetError, open_part
from training.data.inspection.command import add_command as add_check
from training.distributed import identify
from training.evaluate import (
    ClassScore,
    Endpoint,
    EndpointError,
    Evaluation,
    Examination,
    detect_endpoint,
    examine,
    score,
)
from training.evaluate.endpoint import read_key
from training.evaluate.model import PROTOCOLS, Model, Way, choose_device, open_model
from training.evaluate.progress import shown
from training.evaluate.report import Subject, describe, describe_service, write_page
from training.export import ExportError, export_checkpoint
from training.export.card import CardFacts
from training.export.exported import SUFFIXES, open_exported
from training.export.gate.command import add_command as add_promote
from training.export.precision.command import add_commands as add_precision_commands
from training.export.tensorrt.command import add_command as add_compile
from training.nets import VARIANTS
from training.nets.ablations import ABLATIONS
from training.nets.describe import describe_variant
from training.train import NonFiniteLoss, Stopped, train
from training.train.anchors import ENOUGH_RECALL, box_sizes, flat, measure, suggest

_NON_FINITE = 3
_CONFIGS = Path(__file__).parent / "configs"
_ERRORS = (CheckpointError, ConfigError, DatasetError, EndpointError, ExportError, NonFiniteLoss, OSError)
_PROTOCOL = f"Protocol served: {PROTOCOLS['served']}"


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    The exit status is 0, or 1 with one line on standard error, 2 for wrong arguments, 3 for a loss that is not finite,
    130 or 143 when stopped by a signal.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser().parse_args(argv, argparse.Namespace(argv=argv))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("training").setLevel(logging.INFO if identify().is_main else logging.WARNING)
    # As Ctrl-C, so that half-written files are removed; as a container's first process, SIGTERM would do nothing.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments.run(arguments)
    except (*_ERRORS, Stopped) as exc:
        print(f"yolov7-training: {exc}", file=sys.stderr)
        return exc.status if isinstance(exc, Stopped) else _NON_FINITE if isinstance(exc, NonFiniteLoss) else 1
    except KeyboardInterrupt:
        print("yolov7-training: stopped (train goes on from its last checkpoint)", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser("yolov7-training", description="Train, score and publish YOLOv7 detectors.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("describe", help="parameters and GFLOPs of the variants, beside the paper's")
    known = [*VARIANTS, *ABLATIONS]
    command.add_argument(
        "variant",
        nargs="?",
        choices=known,
        metavar="VARIANT",
        help=f"one of {', '.join(known)} (default: all of the paper)",
    )
    command.set_defaults(run=_describe)

    add_check(commands)

    command = commands.add_parser("train", help="train on a COCO or YOLO set; goes on if the run folder holds a run")
    recipes = ", ".join(sorted(path.stem for path in _CONFIGS.glob("*.toml")))
    command.add_argument("--config", default="small", help=f"a TOML file, or one of {recipes} (default: small)")
    command.add_argument("--data", type=Path, required=True, help="a set with parts train and val: see docs/data.md")
    # torchrun takes --run for one of its own options, wherever it stands.
    command.add_argument("--run", "--folder", dest="folder", type=Path, required=True, help="folder of the run")
    command.add_argument("--weights", type=Path, help="checkpoint or official file to start from, whatever its classes")
    override = "one key of the recipe, e.g. optimizer.learning_rate=0.005; may be repeated"
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=override)
    command.set_defaults(run=_train)

    command = commands.add_parser("anchors", help="how well a variant's anchors fit the boxes of a set")
    command.add_argument("data", type=Path, help="a COCO json, a data.yaml, or the folder of a set")
    command.add_argument(
        "--variant", choices=VARIANTS, default="tiny", metavar="NAME", help="whose anchors (default: tiny)"
    )
    command.add_argument("--size", type=int, help="side in pixels that images are trained at (default: the variant's)")
    command.add_argument("--suggest", action="store_true", help="find anchors that fit better, for the recipe")
    command.set_defaults(run=_anchors)

    _add_evaluate(commands)

    command = commands.add_parser("export", help="publish a checkpoint into the model repository")
    command.add_argument("checkpoint", type=Path, help="a checkpoint of this trainer, such as best.pt of a run")
    command.add_argument("--name", required=True, help="name of the model")
    text = "where it is published (default: model_repository)"
    command.add_argument("--repository", type=Path, default=Path("model_repository"), help=text)
    _add_shapes(command)
    command.add_argument(
        "--max-candidates", type=int, default=1000, help="K, most boxes that leave the graph, 1 to 3840 (default: 1000)"
    )
    command.add_argument("--data", type=Path, help="a COCO json or a set: its AP goes into the model card and the spec")
    command.add_argument("--card", type=Path, help="TOML of what only you know: data, licences, credit, limits ...")
    command.set_defaults(run=_export)

    add_promote(commands)
    add_precision_commands(commands)
    add_compile(commands)
    add_import(commands)
    return parser


def _add_evaluate(commands: Any) -> None:
    text = "AP and more of a checkpoint, of a model of a running service, or of both beside each other"
    command = commands.add_parser("evaluate", help=text)
    command.add_argument(
        "checkpoint", type=Path, nargs="?", help="a checkpoint of this trainer, a model.onnx or what was made of it"
    )
    command.add_argument("--url", help="base URL of a running service")
    command.add_argument("--model", default="vehicles", help="with --url: the model (default: vehicles)")
    text = "with --url: file with the API key that it asks for (default: what YOLOV7_KEY holds)"
    command.add_argument("--key-file", type=Path, metavar="FILE", help=text)
    command.add_argument(
        "--data", type=Path, required=True, help="a COCO json, or a set, of which the part val is taken"
    )
    text = "input shapes in pixels (default: what a checkpoint was trained at, what a model.onnx was exported for)"
    command.add_argument("--shapes", type=_shape, nargs="+", default=[], metavar="HxW", help=text)
    text = "served: as the service answers; paper: as the reference validates, at one square shape (default: served)"
    command.add_argument("--protocol", choices=PROTOCOLS, default="served", help=text)
    command.add_argument("--tta", action="store_true", help="look three times: scale 1, 0.83 mirrored, 0.67")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ... (default: cpu)")
    text = "have OpenVINO run an exported file, what is not quantised in this (default: f32, a .onnx by ONNX Runtime)"
    command.add_argument("--precision", choices=("f32", "bf16"), help=text)
    command.add_argument("--json", type=Path, help="also write the figures there")
    command.add_argument("--report", type=Path, help="also write a report there, one HTML file")
    command.set_defaults(run=_evaluate)


def _add_shapes(command: argparse.ArgumentParser) -> None:
    text = "input shapes in pixels, the first the default (default: 640x640)"
    command.add_argument("--shapes", type=_shape, nargs="+", default=[(640, 640)], metavar="HxW", help=text)


def _describe(arguments: argparse.Namespace) -> None:
    title = (
        "fused deploy graphs, 1 multiply-accumulate = 2 FLOPs, biases counted (the paper's D6 is its training graph)"
    )
    table = Table("variant", "side", "parameters", "paper", "GFLOPs", "paper", "training parameters", title=title)
    for name in [arguments.variant] if arguments.variant else VARIANTS:
        size = describe_variant((VARIANTS | ABLATIONS)[name])
        paper, counted = size.variant.paper, size.as_in_paper
        table.add_row(
            name if paper.form == "deploy" else f"{name} ({paper.form})",
            str(size.variant.image_size),
            f"{counted.parameters:,}",
            f"{paper.params_m} M" if paper.params_m else "",
            f"{counted.gflops_with_bias:.3f}",
            f"{paper.gflops}" if paper.gflops else "",
            f"{size.training.parameters:,}",
        )
        if paper.form != "deploy":
            deploy = size.deploy_fused
            table.add_row(name, "", f"{deploy.parameters:,}", "", f"{deploy.gflops_with_bias:.3f}", "", "")
    Console(width=120).print(table)


def _train(arguments: argparse.Namespace) -> None:
    path = Path(arguments.config)
    if not path.suffix:
        path = _CONFIGS / f"{path}.toml"
    if not path.is_file():
        raise ConfigError(f"there is no recipe {path}")
    config = load_config(path, dict(map(_override, arguments.set)))
    train_set, val_set = open_part(arguments.data, "train"), open_part(arguments.data, "val")
    best = train(config, train_set, val_set=val_set, folder=arguments.folder, weights=arguments.weights)
    if identify().is_main:
        _print_evaluation(best, f"best epoch of {arguments.folder}")


def _anchors(arguments: argparse.Namespace) -> None:
    variant, dataset = VARIANTS[arguments.variant], open_part(arguments.data, "train")
    sizes = box_sizes(dataset, arguments.size or variant.image_size)
    if len(sizes) < len(variant.strides) * 3:
        raise DatasetError(f"{arguments.data} has {len(sizes)} boxes, fewer than there are anchors")
    own = flat([[side for anchor in level for side in anchor] for level in variant.anchors])
    table = Table("anchors", "best possible recall", "anchors per box", title=f"{len(sizes)} boxes, ratio below 4")
    rows = {f"of {variant.name}": own}
    if arguments.suggest:
        found = suggest(sizes, levels=len(variant.strides), threshold=4.0)
        rows["suggested"] = flat(found)
    for name, anchors in rows.items():
        fit = measure(sizes, anchors, 4.0)
        table.add_row(name, f"{fit.recall:.4f}", f"{fit.anchors_per_box:.2f}")
    Console(width=120).print(table)
    if arguments.suggest:
        print(f"anchors = {[list(level) for level in found]}")
    elif measure(sizes, own, 4.0).recall < ENOUGH_RECALL:
        print(f"below {ENOUGH_RECALL}: some boxes cannot be learnt; --suggest looks for anchors that fit")


def _evaluate(arguments: argparse.Namespace) -> None:
    if not (arguments.checkpoint or arguments.url):
        raise ConfigError("evaluate what? A checkpoint, or --url of a running service, or both")
    services = [Endpoint(arguments.url, read_key(arguments.key_file))] if arguments.url else []
    dataset, model = open_part(arguments.data, "val"), _model(arguments) if arguments.checkpoint else None
    found: dict[str, Examination] = {}
    for name, detections in [
        *([(model.name, model.detect(dataset))] if model else []),
        *((service.url, detect_endpoint(service, arguments.model, dataset)) for service in services),
    ]:
        found[name] = examine(dataset, shown(detections, len(dataset), name))
        _print_examination(found[name], f"{name} on {arguments.data}")
    first, *others = found.values()
    if others:
        print(f"through the service: {100 * (others[0].evaluation.ap - first.evaluation.ap):+.2f} points of AP")
    if arguments.json:
        arguments.json.write_text(json.dumps(first.to_dict(), indent=2))
    if arguments.report:
        write_page(first, _subject(arguments, model, dataset, others), arguments.report)
        print(f"written: {arguments.report}")


def _model(arguments: argparse.Namespace) -> Model:
    way = Way(tuple(arguments.shapes), arguments.protocol, arguments.tta, choose_device(arguments.device))
    if arguments.checkpoint.suffix not in SUFFIXES:
        if arguments.precision:
            raise ConfigError("--precision is for exported files; a checkpoint is scored in float32")
        return open_model(arguments.checkpoint, way)
    if replace(way, shapes_hw=()) != Way():
        raise ConfigError("an exported file is scored by the protocol served, on the CPU, without --tta")
    return open_exported(arguments.checkpoint, way.shapes_hw, precision=arguments.precision)


def _subject(
    arguments: argparse.Namespace, model: Model | None, dataset: CocoDataset, served: list[Examination]
) -> Subject:
    data, command = str(arguments.data), shlex.join(["yolov7-training", *arguments.argv])
    if model is None:
        return describe_service(arguments.url, arguments.model, dataset, data, command)
    folder = arguments.checkpoint.parent
    run = folder if (folder / "results.csv").is_file() else None
    subject = describe(model, dataset, data, command, folder=run)
    return replace(subject, served=served[0].evaluation, url=arguments.url) if served else subject


def _export(arguments: argparse.Namespace) -> None:
    facts = _card_facts(arguments.card) if arguments.card else CardFacts()
    if arguments.data:
        evaluation = _score_checkpoint(arguments.checkpoint, open_part(arguments.data, "val"), arguments.shapes)
        facts = replace(facts, protocol=_PROTOCOL, average_precision=_figures(evaluation))
    report = export_checkpoint(
        arguments.checkpoint,
        name=arguments.name,
        repository=arguments.repository,
        shapes=arguments.shapes,
        max_candidates=arguments.max_candidates,
        facts=facts,
    )
    table = Table("input shape", "engine against torch", "batch against singles", title=f"published {report.folder}")
    for found in report.parity:
        table.add_row("x".join(map(str, found.shape_hw)), str(found.engine), str(found.batch))
    Console(width=120).print(table)


def _score_checkpoint(path: Path, dataset: CocoDataset, shapes_hw: list[tuple[int, int]]) -> Evaluation:
    model = open_model(path, Way(tuple(shapes_hw)))
    return score(dataset, shown(model.detect(dataset), len(dataset), str(path)))


def _card_facts(path: Path) -> CardFacts:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ExportError(f"{path}: {exc}") from exc
    if unknown := set(table) - {field.name for field in fields(CardFacts)}:
        raise ExportError(f"{path}: unknown key {min(unknown)!r}")
    return CardFacts(**table)


def _figures(evaluation: Evaluation) -> dict[str, float]:
    figures = {"AP": evaluation.ap, "AP50": evaluation.ap50, "AP75": evaluation.ap75}
    for name, scores in evaluation.per_class.items():
        figures |= {f"AP {name}": scores.ap, f"AP50 {name}": scores.ap50}
    return {name: round(value, 4) for name, value in figures.items() if value == value}  # not NaN: no such object


def _print_examination(found: Examination, title: str) -> None:
    _print_evaluation(found.evaluation, title)
    common, reference = found.curves.best_common_confidence(), found.reference_ap
    print(f"best F1 at confidence {common:.3f}, of each class: {json.dumps(found.class_confidence())}")
    print(f"calibration error {100 * found.calibration.error:.2f}; AP by the reference's metric {100 * reference:.2f}")


def _print_evaluation(evaluation: Evaluation, title: str) -> None:
    heads = ("class", "objects", "AP", "AP50", "AP75", "AR")
    table = Table(heads[0], *(Column(head, justify="right") for head in heads[1:]), title=title)
    rows = {"all": evaluation} | evaluation.per_class
    for name, scores in rows.items():
        figures = (scores.ap, scores.ap50, scores.ap75, scores.ar100)
        objects = f"{scores.objects:,}" if isinstance(scores, ClassScore) else ""
        table.add_row(name, objects, *(f"{100 * figure:.2f}" for figure in figures))
    Console().print(table)
    for size in ("small", "medium", "large"):
        ap, ar = (100 * getattr(evaluation, f"{kind}_{size}") for kind in ("ap", "ar"))
        print(f"{size} AP {ap:.2f} AR {ar:.2f}", end="  ")
    print(f"AR of 1, 10, 100: {100 * evaluation.ar1:.2f}  {100 * evaluation.ar10:.2f}  {100 * evaluation.ar100:.2f}")


def _shape(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH") from None
    return height, width


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
