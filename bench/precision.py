"""The embedded engine in f32, bf16 and int8, side by side: images per second, and processor time for each image.

    .venv/bin/yolov7-training quantise model_repository/vehicles/1/model.onnx --data DATA --formats openvino
    .venv/bin/python bench/precision.py model_repository/vehicles/1 --shapes 640x640 416x416 320x320

The engine alone, as the service runs it: bytes in, candidates out, decode and top-k included, NMS not. The graph takes
any shape, so a model is timed at shapes that it is not served at, too. Accuracy is what `yolov7-training evaluate` says
of the same files.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pair import parse_pair
from rich.console import Console
from rich.table import Table
from rounds import interleave, save

from service.engine.embedded import EmbeddedEngine, EmbeddedOptions, Precision
from service.engine.protocol import ModelVersion, Target
from service.engine.repository import StoredModel
from service.vision.spec import ModelSpec, generate_image

PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")


class Loop:
    """Calling it keeps one engine busy for a while and returns images per second; ``cpu_ms`` notes what each cost."""

    def __init__(self, engine: EmbeddedEngine, target: Target, seconds: float, run: Callable[..., None]) -> None:
        self._engine, self._target, self._seconds, self._run = engine, target, seconds, run
        self._images = [generate_image(seed, target.shape_hw) for seed in range(4)]
        self._done = 0
        self.cpu_ms: list[float] = []

    def __call__(self) -> float:
        """One round."""
        self._done = 0
        started, cpu = time.perf_counter(), time.process_time()
        self._run(self._drive(started + self._seconds))
        took = time.perf_counter() - started
        self.cpu_ms.append(1000 * (time.process_time() - cpu) / self._done)
        return self._done / took

    async def _drive(self, until: float) -> None:
        await asyncio.gather(*(self._worker(until) for _ in range(self._engine.parallelism)))

    async def _worker(self, until: float) -> None:
        while time.perf_counter() < until:
            image = self._images[self._done % len(self._images)]
            await self._engine.infer(self._target, [image], deadline=time.monotonic() + 60)
            self._done += 1


def main() -> None:
    """Measure each shape, print one table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", type=Path, help="folder of a version: model.onnx, and model.int8.xml beside it")
    parser.add_argument("--shapes", type=parse_pair, nargs="+", default=[(640, 640), (416, 416)], metavar="HxW")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round (default: 2)")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    arguments = parser.parse_args()
    if not (arguments.version / "model.int8.xml").is_file():
        sys.exit(f"{arguments.version / 'model.int8.xml'} is missing: yolov7-training quantise makes it")
    results = {}
    for shape_hw in arguments.shapes:
        name = "x".join(map(str, shape_hw))
        with asyncio.Runner() as runner, TemporaryDirectory() as folder:
            loops = {}
            for precision in PRECISIONS:
                engine, target = _engine(precision, arguments.version, shape_hw, Path(folder), runner.run)
                loops[precision] = Loop(engine, target, arguments.seconds, runner.run)
            figures = interleave(loops, rounds=arguments.rounds)
        results[name] = {"images_per_second": figures, "cpu_ms": {key: loop.cpu_ms[1:] for key, loop in loops.items()}}
        _print(name, figures, {key: loop.cpu_ms[1:] for key, loop in loops.items()})
    save(arguments.out, results=results)


def _engine(
    precision: Precision, version: Path, shape_hw: tuple[int, int], folder: Path, run: Callable[..., object]
) -> tuple[EmbeddedEngine, Target]:
    """Load the files at another shape than they are served at, which their passports would not let pass."""
    spec = ModelSpec.from_json((version / "spec.json").read_text(encoding="utf-8"))
    for file in ("model.onnx", "model.int8.xml", "model.int8.bin"):
        if not (folder / file).exists():
            (folder / file).symlink_to((version / file).absolute())
    stored = StoredModel(replace(spec, input_shapes=(shape_hw,)), folder / "model.onnx")
    engine = EmbeddedEngine(EmbeddedOptions(precision=precision))
    run(engine.load(stored))
    return engine, Target(ModelVersion(spec.name, spec.version), shape_hw)


def _print(shape: str, figures: dict[str, list[float]], cpu_ms: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in figures.items()}
    costs = {name: statistics.median(values) for name, values in cpu_ms.items()}
    table = Table("", "images/s", "rounds", "to f32", "to bf16", "CPU ms an image", "to f32", "to bf16", title=shape)
    for name, median in medians.items():
        spread = " ".join(f"{value:.4g}" for value in figures[name])
        ratios = [f"{median / medians[other]:.2f}" for other in ("f32", "bf16")]
        cheaper = [f"{costs[other] / costs[name]:.2f}" for other in ("f32", "bf16")]
        table.add_row(name, f"{median:.1f}", spread, *ratios, f"{costs[name]:.1f}", *cheaper)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
