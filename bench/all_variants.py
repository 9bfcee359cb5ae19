"""Every variant trains on real images, in one process and in two, is exported, and the file is scored.

    .venv/bin/python bench/all_variants.py ../shared/data/cards [--size 128] [--variants tiny w6] [--keep FOLDER]

Through the commands that users type, with a thread for each process. A dozen steps on eight photographs show that every
path runs and that losses stay finite, not that much is learnt. Peak memory is that of the largest process; seconds are
the clock's, of the last epoch.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT, Popen

from training.nets import VARIANTS
from training.train.results import read_rows

_ONE = ("training",)
_TWO = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "training")
_TERMS = ("box", "objectness", "classification")
_VALIDATION_IMAGES = 4
_HEADS = ("variant", "processes", "steps", "s/step", "peak GiB", "loss of the first and last epoch", "exit status of")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit status (negative: the signal) and the largest memory of one of its processes."""

    status: int
    peak_gib: float


def main() -> int:
    """Run all, print a line as soon as it is known; the exit status is 1 if anything failed."""
    arguments = _arguments()
    print(f"| {' | '.join(_HEADS)} |\n|{'---|' * len(_HEADS)}", flush=True)
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        data = _few(arguments.data, Path(temporary) / "data", arguments.images)
        for name in arguments.variants:
            folder = (arguments.keep or Path(temporary)) / name
            folder.mkdir(parents=True)
            for row, fine in _rows(name, data, folder, arguments):
                good &= fine
                print(f"| {' | '.join(row)} |", flush=True)
            for checkpoint in () if arguments.keep else folder.rglob("*.pt"):
                checkpoint.unlink()  # up to 3 GB each
    return 0 if good else 1


def _rows(name: str, data: Path, folder: Path, arguments: argparse.Namespace) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Train alone and in two processes; export and score what the two made."""
    recipe = ["--config", "small", "--data", str(data)]
    for key, value in {
        "variant": name,
        "image_size": arguments.size,
        "batch_size": arguments.batch,
        "epochs": arguments.epochs,
        "evaluate_every": arguments.epochs,
        "precision": arguments.precision,
        "optimizer.warmup_epochs": 1.0,
    }.items():
        recipe += ["--set", f"{key}={value}"]
    for processes, module in ((1, _ONE), (2, _TWO)):
        run = folder / f"run-{processes}"
        ended = {"train": _command(*module, "train", *recipe, "--folder", str(run), log=folder / "log.txt")}
        if processes > 1:
            ended |= _published(name, run / "last.pt", data, arguments.size)
        losses, seconds = _figures(run, arguments.batch) if ended["train"].status == 0 else ([], math.nan)
        finite = len(losses) == arguments.epochs and all(map(math.isfinite, losses))
        yield (
            (
                name,
                str(processes),
                str(arguments.epochs * arguments.images // arguments.batch),
                f"{seconds:.2f}",
                f"{ended['train'].peak_gib:.1f}",
                f"{losses[0]:.3f}, {losses[-1]:.3f}" if losses else "",
                ", ".join(f"{what} {how.status}" for what, how in ended.items()),
            ),
            finite and not any(how.status for how in ended.values()),
        )


def _published(name: str, checkpoint: Path, data: Path, size: int) -> dict[str, Ended]:
    log, repository = checkpoint.parents[1] / "log.txt", checkpoint.parents[1] / "repository"
    words = ("--name", name, "--repository", str(repository), "--shapes", f"{size}x{size}")
    exported = _command(*_ONE, "export", str(checkpoint), *words, log=log)
    model = repository / name / "1" / "model.onnx"
    return {
        "export": exported,
        "evaluate": _command(*_ONE, "evaluate", str(model), "--data", str(data), log=log),
    }


def _figures(run: Path, batch: int) -> tuple[list[float], float]:
    """The weighted loss of each epoch per image, and the seconds of a step in the last one."""
    rows = read_rows(run / "results.csv")
    losses = [sum(float(row[term]) for term in _TERMS) for row in rows]
    return losses, batch / float(rows[-1]["images_per_second"])


def _command(*module: str, log: Path, limit_s: float = 600.0) -> Ended:
    """Run a command to its end or its limit; what it says is added to ``log``."""
    with log.open("ab") as file:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = Popen([sys.executable, "-m", *module], stdout=file, stderr=STDOUT, env=environment)
        limit = threading.Timer(limit_s, process.terminate)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)  # with the usage of its own children, which it waited for
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, usage.ru_maxrss / 2**20)


def _few(source: Path, folder: Path, images: int) -> Path:
    """A set of the first images of ``source`` that have boxes; the pictures stay where they are."""
    folder.mkdir()
    (folder / "images").symlink_to((source / "images").absolute())
    for part, count in (("train", images), ("val", _VALIDATION_IMAGES)):
        table = json.loads((source / f"{part}.json").read_text())
        wanted = sorted({box["image_id"] for box in table["annotations"]})[:count]
        table["images"] = [image for image in table["images"] if image["id"] in wanted]
        table["annotations"] = [box for box in table["annotations"] if box["image_id"] in wanted]
        (folder / f"{part}.json").write_text(json.dumps(table))
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a COCO set with train.json, val.json and images")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--size", type=int, default=128, help="a multiple of 64 for the P6 members (default: 128)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--keep", type=Path, help="folder that keeps runs, models and logs (default: none)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
