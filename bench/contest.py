"""Servers measured one at a time: a closed loop over a running one, and the choice of a framework's best arrangement.

Only the server that is measured runs; the others are paused.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from contenders import Contender
from load import Load, drive
from rich.console import Console
from rich.status import Status
from rich.table import Table
from server import Server


@dataclass(slots=True)
class ClosedLoop:
    """Calling it drives a running server for a while and returns its answers per second; ``loads`` keeps the rest."""

    server: Server
    requests: Sequence[bytes]
    clients: int
    seconds: float
    loads: list[Load] = field(default_factory=list)

    def __call__(self) -> float:
        """Awake only while it is driven."""
        with self.server.awake():
            load = drive(self.server.port, self.requests, clients=self.clients, seconds=self.seconds)
        self.loads.append(load)
        return load.per_second

    @property
    def measured(self) -> list[Load]:
        """All rounds but the one that warmed up."""
        return self.loads[1:]


@dataclass(frozen=True, slots=True)
class Pilot:
    """How arrangements are compared before the rounds: each is started, warmed up and driven once."""

    requests_of: Sequence[bytes]  # photos
    clients: int
    seconds: float

    def fastest(self, contenders: Sequence[Contender]) -> tuple[Contender, dict[str, float]]:
        """The one with the most answers per second, and what each had. One that fails is shown and left out."""
        figures: dict[str, float] = {}
        with Status("", console=Console(stderr=True)) as status:
            for contender in contenders:
                if sys.stderr.isatty():
                    status.update(f"pilot: {contender.name}")
                figures[contender.name] = self._per_second(contender)
        table = Table("arrangement", "requests/s", title="pilot")
        for name, figure in figures.items():
            table.add_row(name, f"{figure:.4g}")
        Console(width=120).print(table)
        return max(contenders, key=lambda contender: figures[contender.name]), figures

    def _per_second(self, contender: Contender) -> float:
        requests = contender.requests(self.requests_of)
        try:
            with Server(contender.command) as server:
                drive(server.port, requests, clients=self.clients, seconds=self.seconds / 3)
                return drive(server.port, requests, clients=self.clients, seconds=self.seconds).per_second
        except SystemExit as failure:
            print(f"{contender.name} left out: {failure}")
            return 0.0


def print_loads(loops: dict[str, ClosedLoop]) -> None:
    """Latencies, statuses and the generator's own cores, round by round."""
    for name, loop in loops.items():
        for load in loop.measured:
            print(f"{name}: {load.line()}")
