"""What a measurement is meant to show, beside what it showed."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Aim:
    """Met where `measured` is at most `limit`, both in `unit`."""

    text: str
    measured: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """NaN meets nothing."""
        return self.measured <= self.limit


def print_aims(aims: list[Aim]) -> None:
    """One row for each."""
    table = Table("aim", "measured", "at most", "", title="aims")
    for aim in aims:
        figures = (f"{value:.4g} {aim.unit}" for value in (aim.measured, aim.limit))
        table.add_row(aim.text, *figures, "met" if aim.met else "missed")
    Console(width=140).print(table)
