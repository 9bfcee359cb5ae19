"""What a report is about, besides the numbers: the model, the data, the run that made it, and how to repeat it."""

import csv
import json
import shlex
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from training.evaluate.latency import Latency
from training.evaluate.score import Evaluation

Rows = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Subject:
    """title, lead: the heading and the line below it. facts: lines by heading.

    repeat: commands by what they do. history: lines of results.csv, by column. latency, served: where they were
    measured; served is the evaluation of the same model through a running service, at ``url``.
    """

    title: str
    lead: str
    facts: dict[str, str]
    repeat: dict[str, str]
    history: Rows = field(default_factory=list)
    latency: Latency | None = None
    served: Evaluation | None = None
    url: str = ""


def run_history(folder: Path) -> Rows:
    """Read results.csv of a run folder; nothing where there is none."""
    path = folder / "results.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run_facts(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Facts and commands of a run folder: what config.json and run.json say; nothing of files that are not there."""
    facts: dict[str, str] = {}
    repeat: dict[str, str] = {}
    config, starts = _json(folder / "config.json"), _json(folder / "run.json").get("starts", [])
    if config:
        facts |= _recipe(config)
    if history := run_history(folder):
        hours = sum(float(row["seconds"]) for row in history if row.get("seconds")) / 3600
        facts["training"] = f"{len(history)} epochs in {hours:.1f} h"
    if starts:
        facts |= _start(starts[-1], len(starts))
        repeat["Train:"] = _command(starts[0]["command"])
    return facts, repeat


def data_argument(folder: Path) -> str:
    """The set that a run was started with, as its command named it; DATA where that is not known."""
    starts = _json(folder / "run.json").get("starts", [])
    command = starts[-1]["command"] if starts else []
    return next((str(after) for word, after in pairwise(command) if word == "--data"), "DATA")


def _recipe(config: dict[str, Any]) -> dict[str, str]:
    optimizer, augmentation = config.get("optimizer", {}), config.get("augmentation", {})
    keys = ("mosaic", "mixup", "paste_in", "scale", "translate", "flip_horizontal", "flip_vertical")
    return {
        "recipe": f"{config.get('variant')} at {config.get('image_size')}, batch {config.get('batch_size')}, "
        f"{config.get('precision')}, seed {config.get('seed')}",
        "optimiser": f"{optimizer.get('kind', 'sgd')}, learning rate {optimizer.get('learning_rate')}, "
        f"weight decay {optimizer.get('weight_decay')}, assigner {config.get('loss', {}).get('assigner')}",
        "augmentation": ", ".join(f"{key} {augmentation[key]:g}" for key in keys if augmentation.get(key)),
    }


def _start(start: dict[str, Any], count: int) -> dict[str, str]:
    code, machine, versions = (start.get(key) or {} for key in ("code", "machine", "versions"))
    changed = ", with changes" if code.get("changed") else ""
    gpus = ", ".join(machine.get("gpus") or []) or "no GPU"
    return {
        "last start": f"{start.get('at')}{f', of {count} starts' if count > 1 else ''}",
        "code": f"commit {str(code.get('commit') or 'unknown')[:12]}{changed}",
        "trained on": f"{machine.get('cpu')}, {machine.get('cores')} cores, {gpus}; {start.get('processes')} processes",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "data hashes": ", ".join(f"{part} {str(value)[:16]}" for part, value in (start.get("data") or {}).items()),
    }


def _command(arguments: list[str]) -> str:
    program, *rest = arguments
    name = "python -m training" if program.endswith("__main__.py") else Path(program).name
    return f"{name} {shlex.join(rest)}"


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    table = json.loads(path.read_text())
    return table if isinstance(table, dict) else {}
