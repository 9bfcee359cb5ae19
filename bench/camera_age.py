"""One camera at a real model: how old a frame is when its answer is ready, minute by minute.

    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/camera_age.py --repository /tmp/repository [--seconds 600]

The embedded engine with a model of random weights, whose arithmetic is that of a trained one; 768×432 JPEGs at 30
frames a second, delivery `latest`. The camera is a process of its own (feeder.py) that keeps an absolute schedule and
says when it could not. Ages are the service's own, from receipt to answer; what the sender sees stands beside them. The
inference time is that of the same run, the median of the stage that the service tells with each answer, so the limit
moves with the machine and with what the cores are shared with. An age that grows over the minutes would be a queue.

On 2 cores the engine infers two batches of one side by side, each on one core, as long as nobody else wants it: decode,
the event loop and the camera itself take about a tenth of a core from it. Where two frames take longer than two
intervals, the engine bounds what is answered, and the rest is replaced in the mailbox; where they take less, every
frame is answered, and its age is decode and inference alone.
"""

import argparse
from pathlib import Path

import numpy as np
from aims import Aim, print_aims
from contenders import ours
from feeder import SIZE
from played import Played, play
from rich.console import Console
from rich.table import Table
from rounds import save
from server import Server, free_port

_MINUTE_S = 60.0
_GROWTH = 0.1  # of the median age, that is no growth
_INFERENCES = 1.5


def main() -> None:
    """Start the service, play the camera, print what became of its frames in each minute."""
    arguments = _arguments()
    grpc_port = free_port()
    flags = ["--model-repository", str(arguments.repository.absolute()), "--default-model", arguments.model]
    flags += ["--precision", arguments.precision, "--grpc-port", str(grpc_port), *arguments.flags.split()]
    with Server(ours("ours", *flags).command) as server:
        sized = ["--size", arguments.size]
        playing = play(grpc_port=grpc_port, pid=server.pid, flags=sized, fps=arguments.fps, seconds=arguments.seconds)
    camera = playing.cameras[0]
    infer_s = playing.median("infer")
    title = f"one camera of {arguments.size} at {arguments.fps:g} fps, {arguments.model}, {arguments.precision}"
    minutes = _minutes(camera, arguments.seconds)
    _print_minutes(title, minutes)
    others = {"dropped": dict(camera.dropped), "errors": dict(camera.errors), "never heard of": camera.lost}
    print(f"sent {camera.sent}, answered {camera.answered}, {others}; median inference {1e3 * infer_s:.1f} ms")
    print(playing.schedule())
    limit_s = _INFERENCES * infer_s + 1 / arguments.fps
    aims = [
        Aim("median age: 1.5 inferences + one interval", 1e3 * camera.quantiles("age", 0.5)[0], 1e3 * limit_s, "ms"),
        Aim("no growth: median age, last third over first", 100 * _growth(camera), 100 * _GROWTH, "%"),
    ]
    print_aims(aims)
    save(arguments.json, title=title, aims=aims, minutes=minutes, infer_s=infer_s, **playing.summary())


def _minutes(camera: Played, seconds: float) -> list[dict[str, float]]:
    """A row of figures for each minute, by when the answers arrived; the last one may be shorter."""
    at, rows = camera.answers["at"], []
    for start in np.arange(0.0, seconds, _MINUTE_S):
        chosen = (at >= start) & (at < start + _MINUTE_S)
        if not chosen.any():
            rows.append({"answered_per_second": 0.0})
            continue
        rows.append({"answered_per_second": float(chosen.sum()) / min(_MINUTE_S, seconds - start)})
        for name in ("age", "round_trip", "infer"):
            median, late = np.quantile(camera.answers[name][chosen], [0.5, 0.95])
            rows[-1] |= {f"{name}_p50": float(median), f"{name}_p95": float(late)}
    return rows


def _print_minutes(title: str, minutes: list[dict[str, float]]) -> None:
    names = ("age_p50", "age_p95", "round_trip_p50", "round_trip_p95", "infer_p50", "infer_p95")
    headings = ("age p50 ms", "p95", "at the sender p50", "p95", "inference p50", "p95")
    table = Table("minute", "answered /s", *headings, title=title)
    for number, row in enumerate(minutes, 1):
        milliseconds = (f"{1e3 * row.get(name, float('nan')):.1f}" for name in names)
        table.add_row(str(number), f"{row['answered_per_second']:.2f}", *milliseconds)
    Console(width=140).print(table)


def _growth(camera: Played) -> float:
    """By how much of itself the median age of the first third of the answers was exceeded by that of the last."""
    ages, third = camera.answers["age"], camera.answered // 3
    return float(np.median(ages[-third:]) / np.median(ages[:third])) - 1 if third else float("nan")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    parser.add_argument("--size", default=SIZE, metavar="WxH", help=f"of the frames ({SIZE})")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--flags", default="", help="more flags for our service, in one string")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
