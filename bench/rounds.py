"""Interleaved rounds: every contender runs once in each of five rounds, the medians are compared.

Side by side in one run is the only fair way on a machine whose clock and neighbours change; a ratio is the result,
absolute numbers are its company.
"""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table


def interleave(contenders: Mapping[str, Callable[[], float]], *, rounds: int = 5) -> dict[str, list[float]]:
    """Run each contender once per round, in turn, and return its figures; one unmeasured round warms up."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    with Progress(transient=True, disable=not sys.stderr.isatty(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=(rounds + 1) * len(contenders))
        for turn in range(rounds + 1):
            for name, measure in contenders.items():
                progress.update(task, description=f"{f'round {turn}' if turn else 'warm-up'}: {name}")
                value = measure()
                if turn:
                    figures[name].append(value)
                progress.advance(task)
    return figures


def report(title: str, unit: str, figures: dict[str, list[float]], *, reference: str) -> dict[str, float]:
    """Print a table of medians and of ratios to ``reference``; return the ratios."""
    medians = {name: statistics.median(values) for name, values in figures.items()}
    table = Table("", f"median {unit}", "rounds", f"ratio to {reference}", title=title)
    ratios = {name: median / medians[reference] for name, median in medians.items()}
    for name, median in medians.items():
        spread = " ".join(f"{value:.4g}" for value in figures[name])
        table.add_row(name, f"{median:.4g}", spread, f"{ratios[name]:.3f}")
    Console(width=120).print(table)
    return ratios


def best(figures: Mapping[str, list[float]], names: list[str]) -> str:
    """The one of ``names`` with the highest median."""
    return max(names, key=lambda name: statistics.median(figures[name]))


def save(path: Path | None, **content: Any) -> None:
    """Write ``content`` as JSON beside what it was measured on and by which command; without a path, do nothing."""
    if path is not None:
        machine = {"cores": len(os.sched_getaffinity(0)), "processor": _processor(), "system": platform.platform()}
        document = {"command": sys.argv, "machine": machine, **content}
        path.write_text(json.dumps(document, indent=2, default=str) + "\n")
        print(f"written: {path}")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
