"""Interleaved rounds: every contender runs once in each of five rounds, the medians are compared.

Side by side in one run is the only fair way on a machine whose clock and neighbours change; a ratio is the result,
absolute numbers are its company.
"""

import statistics
from collections.abc import Callable

from rich.console import Console
from rich.table import Table


def interleave(contenders: dict[str, Callable[[], float]], *, rounds: int = 5) -> dict[str, list[float]]:
    """Run each contender once per round, in turn, and return its figures; one unmeasured round warms up."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, measure in contenders.items():
            value = measure()
            if turn:
                figures[name].append(value)
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
