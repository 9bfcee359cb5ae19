"""Eight cameras at one service, delivery `latest`: equal shares, the age of frames, and memory.

    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/streams.py --repository /tmp/repository [--streams 8] [--fps 30] [--seconds 60]

768×432 JPEGs at 30 frames a second each, at the engine of ``bench/sleeping.py`` that sleeps 2 ms a batch. Whether
memory stays flat is judged from 90 seconds on; ``--seconds 300`` says more. A higher ``--fps`` than can be answered
shows how what there is is shared out.

Photos are scikit-image's, no two of them the same bytes. The cameras are a process of their own (feeder.py), which
keeps an absolute schedule and says when it could not. Ages are the service's own, from receipt to answer; what the
sender sees, from when a frame was due until its answer had arrived, stands beside them. Batch time and decode time are
those of the same run: medians of the stages that the service tells with each answer; the decode of one frame by itself,
in a process that does nothing else, is measured as well, and a second, stricter limit made of it.

On 2 cores 8 × 30 frames a second take about a third of what the service can do over HTTP with the same engine, so that
all should be answered; what bounds an age is then how many frames of other cameras come at the same moment, since two
threads decode at a time while the event loop and the cameras want the same cores. Where more is offered than can be
answered, CPU bounds the number of answers, and the turns of the streams the age: a frame waits in its mailbox, where a
newer one replaces it, until its stream has a turn.
"""

import argparse
import statistics
import time
from pathlib import Path

from aims import Aim, print_aims
from contenders import ours_sleeping
from feeder import PHASES, SIZE
from pair import parse_pair
from photos import photos
from played import Played, Playing, play
from rich.console import Console
from rich.table import Table
from rounds import save
from server import Server, free_port

from service.vision.image import decode

_UNFAIR = 0.1
_GROWTH = 0.02  # of the memory, that is still flat
_SETTLED_S = 30.0  # before which pools and arenas still fill
_SAMPLES = 3
_MEGABYTE = 2**20


def main() -> None:
    """Start the service, play the cameras, print what became of their frames."""
    arguments = _arguments()
    grpc_port = free_port()
    flags = ["--model-repository", str(arguments.repository.absolute()), "--default-model", arguments.model]
    flags += ["--log-level", "warning", "--grpc-port", str(grpc_port), *arguments.flags.split()]
    alone_s = _decode_alone(arguments.size)
    size = "x".join(map(str, arguments.size))
    cameras = ["--streams", str(arguments.streams), "--size", size, "--phases", arguments.phases]
    with Server(ours_sleeping("ours", "--sleep-ms", str(arguments.sleep_ms), *flags).command) as server:
        playing = play(grpc_port=grpc_port, pid=server.pid, flags=cameras, fps=arguments.fps, seconds=arguments.seconds)
    title = f"{arguments.streams} streams of {size} at {arguments.fps:g} fps, {arguments.sleep_ms:g} ms a batch"
    _print_streams(title, playing)
    _print_memory(playing.memory)
    print(playing.schedule())
    aims = _aims(playing, alone_s)
    print_aims(aims)
    save(arguments.json, title=title, aims=aims, decode_alone_s=alone_s, **playing.summary())


def _print_streams(title: str, playing: Playing) -> None:
    columns = ("answered /s", "of sent", "age p50 ms", "p95", "p99", "at the sender p50", "p95", "dropped", "errors")
    table = Table("stream", *columns, title=title)
    for number, camera in enumerate(playing.cameras):
        ages = camera.quantiles("age", 0.5, 0.95, 0.99) + camera.quantiles("round_trip", 0.5, 0.95)
        table.add_row(
            str(number),
            f"{camera.answered / playing.seconds:.2f}",
            f"{camera.answered / camera.sent:.1%}",
            *(f"{1e3 * age:.1f}" for age in ages),
            _counts(camera, "dropped"),
            _counts(camera, "errors"),
        )
    Console(width=140).print(table)
    answered = [camera.answered for camera in playing.cameras]
    spread = (max(answered) - min(answered)) / statistics.mean(answered)
    print(f"{sum(answered) / playing.seconds:.1f} answers a second; (max - min) / mean of the streams: {spread:.2%}")
    stages = ("decode", "preprocess", "queue", "infer", "postprocess")
    print("medians: " + ", ".join(f"{stage} {1e3 * playing.median(stage):.2f} ms" for stage in stages))


def _counts(camera: Played, kind: str) -> str:
    counts = dict(getattr(camera, kind))
    if kind == "errors" and camera.lost:
        counts["never heard of"] = camera.lost
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "-"


def _print_memory(memory: list[tuple[float, int]]) -> None:
    print("resident MB, every 10 s: " + " ".join(f"{size / _MEGABYTE:.1f}" for _, size in memory))
    settled = _settled(memory)
    if len(settled) > 1:
        slope = statistics.linear_regression(*zip(*settled, strict=True)).slope * 60 / _MEGABYTE
        print(f"slope after the first {_SETTLED_S:g} s: {slope:+.2f} MB a minute")


def _aims(playing: Playing, alone_s: float) -> list[Aim]:
    answered = [camera.answered for camera in playing.cameras]
    fair = statistics.mean(answered)
    unfair = max(abs(count - fair) for count in answered) / fair
    age_s = max(camera.quantiles("age", 0.95)[0] for camera in playing.cameras)
    batch_s, decode_s = playing.median("infer"), playing.median("decode")
    aims = [Aim("each stream within 10 % of its fair share: the furthest off", 100 * unfair, 100 * _UNFAIR, "%")]
    for name, one_s in (("in the run", decode_s), ("alone", alone_s)):
        text = f"p95 age of the worst stream: 2 batches + a frame of each decoded ({1e3 * one_s:.2f} ms, {name})"
        aims.append(Aim(text, 1e3 * age_s, 1e3 * (2 * batch_s + len(answered) * one_s), "ms"))
    sizes = [size for _, size in _settled(playing.memory)]
    if len(sizes) >= 2 * _SAMPLES:  # a shorter run says nothing of it
        growth = statistics.median(sizes[-_SAMPLES:]) / statistics.median(sizes[:_SAMPLES]) - 1
        aims.append(Aim(f"memory flat: growth after {_SETTLED_S:g} s", 100 * growth, 100 * _GROWTH, "%"))
    return aims


def _settled(memory: list[tuple[float, int]]) -> list[tuple[float, int]]:
    return [sample for sample in memory if sample[0] >= _SETTLED_S]


def _decode_alone(size_wh: tuple[int, int], repeats: int = 20) -> float:
    """Median seconds to decode one frame, while nothing else runs."""
    jpegs, took = list(photos(size_wh).values()), []
    for number in range(repeats * len(jpegs)):
        started = time.perf_counter()
        decode(jpegs[number % len(jpegs)])
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True, help="written by bench/make_model.py")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--size", type=parse_pair, default=SIZE, metavar="WxH", help=f"of the frames ({SIZE})")
    parser.add_argument("--sleep-ms", type=float, default=2.0)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--phases", choices=PHASES, default=PHASES[0], help="of the cameras; see feeder.py")
    parser.add_argument("--flags", default="", help="more flags for our service, in one string")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
