"""Overload: three times more requests than can be answered, for a minute, whether or not those before were answered.

    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/overload.py --repository /tmp/repository --model tiny [--times 3] [--deadline-ms 1000]

Each round first measures the capacity by a closed loop, then offers a multiple of it as a Poisson process. Goodput are
answers 200 within the deadline, counted from when a request was due; what matters is how much of the capacity is left
of it, that nobody who was accepted waits longer than the deadline, and that refusals are quick. The generator shares
the cores: how much of them it used and how late it sent is printed. With ``--sleep-ms`` the engine only sleeps, so that
HTTP, decode and queue are what is overloaded.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from contenders import Contender, ours, ours_sleeping
from contest import ClosedLoop
from offered import Arrivals, Offered, offer
from photos import add_arguments, chosen, copies
from rich.console import Console
from rich.table import Table
from rounds import interleave, report, save
from server import Server

_COPIES = 256
_KINDS = {"answered 200": 200, "refused 503": 503, "expired 504": 504, "broken": 0}


def main() -> None:
    """Start the service, measure capacity and overload in turn, print what became of the requests."""
    arguments = _arguments()
    headers = {"Cache-Control": "no-store", "X-Request-Timeout-Ms": str(arguments.deadline_ms)}
    contender = _contender(arguments)
    requests = contender.requests(copies(chosen(arguments), _COPIES), headers)
    runs: list[Offered] = []
    with Server(contender.command) as server:
        capacity = ClosedLoop(server, requests, arguments.clients, arguments.capacity_seconds)
        overload = _overload(server, requests, capacity, runs, arguments)
        name = f"goodput at {arguments.times:g}×"
        figures = interleave({"capacity": capacity, name: overload}, rounds=arguments.rounds)
    title = f"{arguments.model}, deadline {arguments.deadline_ms} ms, {arguments.seconds:g} s of overload a round"
    ratios = report(title, "requests/s", figures, reference="capacity")
    _print_runs(runs[1:])
    loads = {"overload": [run.summary() for run in runs[1:]], "capacity": [c.summary() for c in capacity.measured]}
    save(arguments.out, title=title, figures=figures, ratios=ratios, loads=loads)


def _overload(
    server: Server, requests: list[bytes], capacity: ClosedLoop, runs: list[Offered], arguments: argparse.Namespace
) -> Callable[[], float]:
    def measure() -> float:
        arrivals = Arrivals(
            per_second=arguments.times * capacity.loads[-1].per_second,
            seconds=arguments.seconds if runs else arguments.capacity_seconds,  # the first only warms up
            deadline_s=arguments.deadline_ms / 1000,
            evenly=arguments.evenly,
            seed=len(runs),
        )
        with server.awake():
            runs.append(offer(server.port, requests, arrivals, connections=arguments.connections))
        return runs[-1].goodput

    return measure


def _print_runs(runs: list[Offered]) -> None:
    table = Table("", *(f"round {number + 1}" for number in range(len(runs))), "median", title="overload")

    def row(name: str, values: Sequence[float], form: str = ".1f") -> None:
        table.add_row(name, *(format(value, form) for value in values), format(statistics.median(values), form))

    row("offered /s", [run.offered / run.arrivals.seconds for run in runs])
    for name, status in _KINDS.items():
        row(name, [len(run.answers.get(status, ())) for run in runs], "g")
    others = [sum(len(v) for status, v in run.answers.items() if status not in _KINDS.values()) for run in runs]
    row("any other status", others, "g")
    row("unanswered", [run.unanswered for run in runs], "g")
    for status, name in ((200, "200"), (503, "503")):
        for share in (0.5, 0.99, 1.0):
            label = "longest" if share == 1 else f"p{share * 100:g}"
            row(f"{name}: {label}, ms", [1e3 * run.percentile(share, status) for run in runs])
    row("sent late: p99, ms", [1e3 * run.lag(0.99) for run in runs])
    row("load generator, cores", [run.cores for run in runs], ".2f")
    Console(width=120).print(table)


def _contender(arguments: argparse.Namespace) -> Contender:
    flags = ["--model-repository", str(arguments.repository.absolute()), "--default-model", arguments.model]
    flags += arguments.flags.split()
    if arguments.sleep_ms is None:
        return ours("ours", *flags)
    return ours_sleeping("ours", "--sleep-ms", str(arguments.sleep_ms), "--log-level", "warning", *flags)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--model", default="vehicles")
    parser.add_argument("--sleep-ms", type=float, help="an engine that sleeps so long for each batch")
    parser.add_argument("--times", type=float, default=3.0, help="the capacity, offered (default: 3)")
    parser.add_argument("--deadline-ms", type=int, default=1000)
    parser.add_argument("--evenly", action="store_true", help="evenly spaced instead of a Poisson process")
    parser.add_argument("--connections", type=int, default=512, help="keep-alive connections of the open loop")
    parser.add_argument("--clients", type=int, default=16, help="of the closed loop")
    parser.add_argument("--capacity-seconds", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flags", default="", help="more flags for our service, in one string")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
