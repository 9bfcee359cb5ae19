"""The run that the flags of `yolov7-service bench` ask for.

Exit codes: 0 where something was measured; 1 where the service did not answer, or nothing with 200; 2 for what cannot
be done as asked, such as a picture that is not there, or without k6; 130 where a signal ended it, after what was
measured by then was printed and written.
"""

import json
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from service.benchmark import view
from service.benchmark.k6 import K6, K6Failed, K6Missing, find_k6
from service.benchmark.load import Load, in_flight
from service.benchmark.pictures import NoPictures, Pictures, generate_pictures, read_pictures
from service.benchmark.plot import plot
from service.benchmark.report import describe_machine, describe_requests, mask_key, report
from service.benchmark.run import Run
from service.benchmark.target import INCLUDES, Server, Target, ask
from service.client.errors import ClientError

DEFAULT_CLIENTS = (1, 4)
# Of what is printed into a file or a pipe.
WIDTH = 120


def run(arguments: Namespace) -> None:
    """Measures, prints and writes. Exits with one line where that is no success."""
    # As Ctrl-C does: k6 is ended, and what was measured is told.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the flags come to, before anything is sent."""

    loads: Sequence[Load]
    program: str
    target: Target
    pictures: Pictures


def _run(arguments: Namespace) -> None:
    try:
        _check_outputs(arguments)
        asked = _Asked(_loads(arguments), find_k6(), _target(arguments), _pictures(arguments))
    except (NoPictures, K6Missing, ValueError, OSError) as exc:
        _end(2, str(exc))
    try:
        server = ask(asked.target, asked.pictures.files[0], timeout_s=arguments.timeout)
    except ClientError as exc:
        _end(1, f"{arguments.url}: {exc}")
    try:
        _measure(asked, arguments, server)
    except K6Failed as exc:
        _end(1, str(exc))


def _measure(asked: _Asked, arguments: Namespace, server: Server) -> None:
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH)
    shown = view.View(Console(stderr=True, highlight=False, soft_wrap=True))
    with K6(asked.program, asked.target, asked.pictures) as k6:
        about = {
            "command": ["yolov7-service", *mask_key(sys.argv[1:])],
            "generator": f"Grafana k6 {k6.version()}",
            "machine": describe_machine() | {"shared_with_service": asked.target.here},
            "requests": describe_requests(asked.target, asked.pictures),
        }
        for line in _headline(about, server, asked.pictures):
            console.print(line, markup=False)
        run = Run(lambda load: shown.offer(k6, load))
        try:
            _offer(run, asked.loads, arguments)
        finally:
            # Also where k6 failed in the middle: minutes of measuring are not thrown away.
            _print(run, console)
            _write(run, arguments, server, about)
    _judge(run)


def _offer(run: Run, loads: Sequence[Load], arguments: Namespace) -> None:
    if arguments.knee:
        run.find_knee(loads[0], p99_ms=arguments.slo_ms, steps=arguments.steps)
    else:
        run.measure(loads)


def _loads(arguments: Namespace) -> list[Load]:
    if arguments.knee and (arguments.clients or arguments.rate):
        raise ValueError("--knee chooses rates itself: leave --clients and --rate out")
    if arguments.slo_ms and not arguments.knee:
        raise ValueError("--slo-ms belongs to --knee")
    if arguments.rate and arguments.clients and len(arguments.clients) > 1:
        raise ValueError("with --rate, --clients is one number: how many requests may be in flight")
    times = {"seconds": arguments.seconds, "warm_up_s": arguments.warm_up, "timeout_s": arguments.timeout}
    if arguments.rate:
        bound = arguments.clients[0] if arguments.clients else None
        return [Load(bound or in_flight(rate), rate, **times) for rate in arguments.rate]
    return [Load(clients, **times) for clients in arguments.clients or DEFAULT_CLIENTS]


def _check_outputs(arguments: Namespace) -> None:
    """What cannot be written is better known before minutes of measuring."""
    for path in (arguments.json, arguments.plot):
        if path is not None and not path.resolve().parent.is_dir():
            raise ValueError(f"{path}: there is no such folder")


def _target(arguments: Namespace) -> Target:
    key = arguments.key
    if arguments.key_file is not None:
        key = arguments.key_file.read_text(errors="replace").strip()
    named = {"model": arguments.model, "version": arguments.model_version}
    query = [(name, value) for name, value in named.items() if value is not None]
    return Target(arguments.url, (*query, *arguments.option), key, arguments.ca, arguments.cached)


def _pictures(arguments: Namespace) -> Pictures:
    if not arguments.pictures:
        return generate_pictures(arguments.size)
    pictures = read_pictures(arguments.pictures)
    if pictures.left_out:
        _tell(f"the first {len(pictures.files)} pictures are posted; {pictures.left_out} more are left out")
    return pictures


def _headline(about: dict[str, Any], server: Server, pictures: Pictures) -> Sequence[str]:
    machine = about["machine"]
    shared = "the service runs here too" if machine["shared_with_service"] else "the service runs elsewhere"
    stages = ", ".join(f"{name} {value:.1f}" for name, value in server.stages_ms.items())
    caching = "the cache may answer" if about["requests"]["cached"] else "no two requests are alike"
    return (
        f"model:     {server.title}",
        f"machine:   {machine['cpu']}, {machine['cores']} cores, load average {machine['load_average']}; {shared}",
        f"pictures:  {pictures.source}, {pictures.mean_bytes / 1000:.0f} kB on average; {caching}",
        f"measured:  end to end: {INCLUDES}; by {about['generator']}",
        f"the first: {stages} ms, {server.detections} detections",
    )


def _print(run: Run, console: Console) -> None:
    if run.steps:
        console.print(view.table(run.steps, run.knee))
        console.print(
            "latency in ms, of answers 200, from the post to the last byte; k6: cores that the generator kept busy"
        )
    failure = next((step.figures.failure for step in run.steps if step.figures.failure), None)
    if failure:
        console.print(f"one of those without an answer: {failure}", markup=False)
    if run.knee:
        console.print(view.knee_line(run.knee), markup=False)


def _write(run: Run, arguments: Namespace, server: Server, about: dict[str, Any]) -> None:
    if arguments.json:
        _put(arguments.json, json.dumps(report(run, server=server, about=about), indent=2) + "\n")
    if arguments.plot:
        machine = about["machine"]
        subtitle = f"{about['requests']['pictures']}; {machine['cores']} cores; end to end, decode and NMS included"
        _put(arguments.plot, plot(run.steps, run.knee, server.title, subtitle))


def _put(path: Path, text: str) -> None:
    path.write_text(text)
    _tell(f"wrote {path}")


def _judge(run: Run) -> None:
    if run.cut:
        _end(128 + signal.SIGINT, "cut short")
    if not any(step.figures.answered for step in run.steps):
        _end(1, "nothing was answered 200")
    if run.dead:
        _tell("the last step was answered nothing with 200, so no further one was run")


def _tell(text: str) -> None:
    print(f"yolov7-service: {text}", file=sys.stderr)  # noqa: T201 - what a command says


def _end(code: int, text: str) -> NoReturn:
    _tell(text)
    sys.exit(code)
