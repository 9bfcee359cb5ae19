"""How many training images a core makes each second, and where its time goes.

    .venv/bin/python bench/data_pipeline.py ../shared/data/hit-uav ../shared/data/vehicles [--size 640] [--images 200]

One thread, processor seconds rather than the clock's, so that neighbours on the machine do not count. The first figure
is of undisturbed runs; the stages come from a second run under the profiler, which slows short functions most.
"""

import argparse
import cProfile
import pstats
import time
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.table import Table

from training.config import Augmentation
from training.data import TrainDataset, open_part
from training.data.loader import collate

_STAGES = {
    "load (decode, scale)": ("source.py", "load"),
    "of that, decode": ("source.py", "_decoded"),
    "mosaic of four": ("mosaic.py", "mosaic4"),
    "mosaic of nine": ("mosaic.py", "mosaic9"),
    "affine": ("geometry.py", "affine"),
    "mixup": ("mosaic.py", "mixup"),
    "colour": ("photometric.py", "recolour"),
    "paste-in": ("paste.py", "paste_in"),
    "flips": ("geometry.py", "flip_horizontal"),
    "collate": ("loader.py", "collate"),
}


def main() -> None:
    """Measure and print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="sets, of which the part train is taken")
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache-gib", type=float, default=4.0)
    parser.add_argument("--mixup", type=float, default=Augmentation().mixup)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for path in arguments.data:
        _report(path, arguments)


def _report(path: Path, arguments: argparse.Namespace) -> None:
    dataset = TrainDataset(
        open_part(path),
        Augmentation(mixup=arguments.mixup),
        image_size=arguments.size,
        seed=2,
        cache_bytes=int(arguments.cache_gib * 2**30),
    )
    count = min(arguments.images, len(dataset))
    _run(dataset, count)  # what is built once is built
    best = min(_seconds(dataset, count) for _ in range(arguments.rounds))
    profile = cProfile.Profile(time.process_time)
    profile.runcall(_run, dataset, count)
    stages, total = _stages(profile)
    title = f"{path.name} at {arguments.size}, mixup {arguments.mixup}, cache {arguments.cache_gib} GiB"
    table = Table("stage", "ms/image", "share", title=f"{title}: {count / best:.1f} images/s of one core")
    for name, seconds in stages.items():
        table.add_row(name, f"{1e3 * seconds / count:.2f}", f"{100 * seconds / total:.0f} %")
    table.add_row("all, undisturbed", f"{1e3 * best / count:.2f}", "")
    Console().print(table)


def _run(dataset: TrainDataset, count: int) -> None:
    for start in range(0, count, 16):
        collate([dataset[index] for index in range(start, min(start + 16, count))])


def _seconds(dataset: TrainDataset, count: int) -> float:
    started = time.process_time()
    _run(dataset, count)
    return time.process_time() - started


def _stages(profile: cProfile.Profile) -> tuple[dict[str, float], float]:
    """Seconds with all that a function calls, for the stages that ran, and of the whole."""
    seconds = {}
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # not in typeshed
    for (file, _, function), (_, _, _, cumulative, _) in stats.items():
        for name, place in _STAGES.items():
            if (Path(file).name, function) == place:
                seconds[name] = seconds.get(name, 0.0) + cumulative
    total = max(row[3] for row in stats.values())
    return {name: seconds[name] for name in _STAGES if name in seconds}, total


if __name__ == "__main__":
    main()
