"""What a frame costs as a message of a stream, beside the same bytes as an HTTP request, at an engine that sleeps 2 ms.

    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/stream_http.py --repository /tmp/repository [--in-flight 16]

One server answers both. HTTP: ``--in-flight`` keep-alive connections with one request each, nothing answered from a
cache. gRPC: one stream of delivery ``every`` with as many frames unanswered, and as many streams with one each, so that
threads and batches have as much to choose from. The same JPEGs are decoded, letterboxed, batched and suppressed.

It is fair because both generators run in this process, on the same kind of event loop, send bytes that were prepared
and parse no answer (load.py, http2.py). With ``--aio`` one stream is driven by the library's own client too, to show
what that costs; HTTP's figures have no such client in them. CPU per frame is printed for the server, as /proc has it,
and for the generator.

On 2 cores what bounds all of them is CPU: of the server for decode and letterbox, which is the same on every way, and
for the transport and the event loop, which is what differs; and of the generator, which takes it from the same cores.
Where the three together come near to 2 cores (the column says), frames per second are 2 cores divided by the CPU of a
frame, so the ratio cannot be more than what a transport saves of the whole; the engine, at 16 images in 2 ms, bounds
nothing. Where they stay below 2 cores, something else bounds: waits between threads, or other processes. The machine
must be otherwise idle: beside others that take cores, the way with more hand-offs between threads loses more of them.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contenders import ours_sleeping
from load import Load, drive
from photos import add_arguments, chosen, copies
from process import cpu_seconds
from rich.console import Console
from rich.table import Table
from rounds import interleave, report, save
from server import Server, free_port
from stream_load import Streams, drive_streams

_COPIES = 256
_AIM = 1.2
_HTTP = "HTTP"
_SIZE = "768x432"


@dataclass(slots=True)
class Counted:
    """A way to the server. Calling it drives the server for a round; what both sides used of the cores is kept."""

    server: Server
    drive: Callable[[], Load]
    loads: list[Load] = field(default_factory=list)
    server_seconds: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Answers per second."""
        before = cpu_seconds(self.server.pid)
        load = self.drive()
        self.server_seconds.append(cpu_seconds(self.server.pid) - before)
        self.loads.append(load)
        return load.per_second

    @property
    def measured(self) -> list[tuple[Load, float]]:
        """All rounds but the one that warmed up, each with the server's CPU seconds."""
        return list(zip(self.loads, self.server_seconds, strict=True))[1:]

    def summary(self) -> list[dict[str, Any]]:
        """The figures of each round, for JSON."""
        return [{**load.summary(), "server_cores": seconds / load.seconds} for load, seconds in self.measured]


def main() -> None:
    """Start the service, measure in rounds, print the ratios and where the CPU went."""
    arguments = _arguments()
    images = copies(chosen(arguments), _COPIES)
    grpc_port, in_flight = free_port(), arguments.in_flight
    flags = ["--model-repository", str(arguments.repository.absolute()), "--default-model", arguments.model]
    flags += ["--log-level", "warning", "--grpc-port", str(grpc_port), "--stream-credits", str(in_flight)]
    ours = ours_sleeping("ours", "--sleep-ms", str(arguments.sleep_ms), *flags, *arguments.flags.split())
    requests = ours.requests(images, {"Cache-Control": "no-store"})

    def http() -> Load:
        return drive(server.port, requests, clients=in_flight, seconds=arguments.seconds)

    def streams(count: int, each: int, *, aio: bool = False) -> Callable[[], Load]:
        wanted = Streams(count, each)
        return lambda: drive_streams(grpc_port, images, wanted, seconds=arguments.seconds, aio=aio)

    ways = {_HTTP: http, "1 stream": streams(1, in_flight), f"{in_flight} streams": streams(in_flight, 1)}
    if arguments.aio:
        ways["1 stream, grpc.aio"] = streams(1, in_flight, aio=True)
    with Server(ours.command) as server:
        loops = {name: Counted(server, way) for name, way in ways.items()}
        figures = interleave(loops, rounds=arguments.rounds)
    title = f"engine of {arguments.sleep_ms:g} ms a batch, {in_flight} frames in flight"
    ratios = report(title, "frames/s", figures, reference=_HTTP)
    _print_costs(loops)
    met = "met" if ratios["1 stream"] >= _AIM else "missed"
    print(f"1 stream / HTTP: {ratios['1 stream']:.3f}; the aim is {_AIM}: {met}")
    loads = {name: loop.summary() for name, loop in loops.items()}
    save(arguments.json, title=title, figures=figures, ratios=ratios, aim=_AIM, loads=loads)


def _print_costs(loops: dict[str, Counted]) -> None:
    columns = ("server, CPU ms a frame", "generator, CPU ms a frame", "cores, both", "p50 ms", "p99 ms", "answers")
    table = Table("", *columns, title="where the time went, medians of the rounds")
    for name, loop in loops.items():
        rounds = [(load, seconds, sum(load.statuses.values())) for load, seconds in loop.measured]
        answers: dict[int, int] = {}
        for load, _, _ in rounds:
            answers = {key: answers.get(key, 0) + load.statuses.get(key, 0) for key in {*answers, *load.statuses}}
        table.add_row(
            name,
            f"{statistics.median(1e3 * seconds / count for _, seconds, count in rounds):.3f}",
            f"{statistics.median(1e3 * load.cpu_seconds / count for load, _, count in rounds):.3f}",
            f"{statistics.median((load.cpu_seconds + seconds) / load.seconds for load, seconds, _ in rounds):.2f}",
            f"{statistics.median(1e3 * load.percentile(0.5) for load, _, _ in rounds):.1f}",
            f"{statistics.median(1e3 * load.percentile(0.99) for load, _, _ in rounds):.1f}",
            str(answers),
        )
    Console(width=140).print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, size=_SIZE)
    parser.add_argument("--repository", type=Path, required=True, help="written by bench/make_model.py")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sleep-ms", type=float, default=2.0)
    parser.add_argument("--in-flight", type=int, default=16, help="frames that are unanswered at a time")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--aio", action="store_true", help="also drive one stream by grpc.aio")
    parser.add_argument("--flags", default="", help="more flags for our service, in one string")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
