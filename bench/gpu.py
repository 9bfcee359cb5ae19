"""Every variant on a GPU: precision × batch × shape, the engine alone and end to end, beside the paper's V100.

    .venv/bin/python bench/gpu.py --out gpu.json --budget-s 540        # again to go on where it stopped
    .venv/bin/python bench/gpu.py --out gpu.json --runners graph compiled eager --budget-s 540
    .venv/bin/python bench/gpu.py --out gpu.json --table

What matters most comes first: batch 1 of all eight, then large batches, then end to end, then the rest. Each block is
saved when it is done. Runners: `graph` (channels last, recorded as a CUDA graph), `compiled` (torch.compile, then
recorded), `eager`, `tensorrt` where its Python module is. fp32 is without TF32; tf32 is fp32 multiplied so.
Random weights: speed only. What a row includes stands in it. Nothing of the card is set; its clocks are noted.
With --device cpu it runs too, to try the program.
"""

import argparse
import gc
import importlib.util
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cards import BYTES
from gpu_card import identity, state
from gpu_cases import PRECISIONS, RUNNERS, SCOPES, Block, Case, Menu, Precision, plan
from gpu_engines import Engine, References, build_engine
from gpu_network import settled_model
from gpu_results import Results, as_markdown, failed_row, row_of
from gpu_timing import EngineRounds, Rounds
from pair import parse_pair
from roofline import Roof, find_roof
from rounds import interleave

from training.nets import VARIANTS, DeployModel

_ON_GPU: dict[str, Any] = {"batches": (1, 32, 8, 16, 64), "precisions": PRECISIONS, "runners": ("graph", "eager")}
_ON_CPU: dict[str, Any] = {"batches": (1, 4), "precisions": ("fp32", "bf16"), "runners": ("eager",)}


@dataclass(frozen=True, slots=True)
class Setting:
    """How a case is measured. roofs: by precision, where they are known."""

    device: torch.device
    rounds: int
    seconds: float
    picture_hw: tuple[int, int]
    references: References
    roofs: dict[Precision, Roof | None]


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is missing for as long as there is time, then print all. words: the command line's, if none."""
    arguments = _arguments(words)
    if arguments.table:
        print(as_markdown(Results.load(arguments.out)))
        return
    until = time.monotonic() + arguments.budget_s
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; --device cpu tries the program without one")
    torch.backends.cudnn.benchmark = True  # search for the fastest kernels
    card = identity(device)
    results = Results.go_on(arguments.out, card)
    roofs = {name: _roof(card["name"], name, arguments) for name in PRECISIONS}
    setting = Setting(device, arguments.rounds, arguments.seconds, arguments.picture[::-1], References(device), roofs)
    _measure_all(results, list(plan(_menu(arguments))), setting, until)
    print(as_markdown(results))


def _measure_all(results: Results, blocks: list[Block], setting: Setting, until: float) -> None:
    """Block after block; none is begun that the longest so far says will not end in time."""
    longest = 0.0
    for index, block in enumerate(blocks, 1):
        if all(results.has(case) for case in block.cases):
            continue
        started = time.monotonic()
        if started + longest > until:
            print(f"out of time: {len(blocks) - index + 1} of {len(blocks)} blocks left", file=sys.stderr)
            return
        names = " ".join(dict.fromkeys(case.variant for case in block.cases))
        print(f"[{index}/{len(blocks)}] {block.title}: {names}", file=sys.stderr, flush=True)
        results.rows.update(_measure(block, setting))
        results.save()
        gc.collect()
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
        longest = max(longest, time.monotonic() - started)


def _measure(block: Block, setting: Setting) -> dict[str, dict[str, object]]:
    """The rows of a block. What cannot be built or run takes only its own row along."""
    rows: dict[str, dict[str, object]] = {}
    with ExitStack() as stack:
        contenders: dict[str, Rounds] = {}
        models: dict[tuple[str, tuple[int, int]], DeployModel] = {}
        for case in block.cases:
            try:
                name = case.variant, case.shape_hw
                if name not in models:
                    models[name] = settled_model(VARIANTS[case.variant], case.shape_hw, setting.device)
                    setting.references.learn(case, models[name])
                contenders[case.key] = stack.enter_context(closing(_contender(case, models[name], setting)))
            except torch.OutOfMemoryError:
                rows[case.key] = failed_row(case, "out of memory")
            except Exception as error:  # noqa: BLE001 - a kernel, a compiler or TensorRT may fail in any way
                rows[case.key] = failed_row(case, f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
        before = state(setting.device)
        figures = interleave(contenders, rounds=setting.rounds)
        after = state(setting.device)
        for case in block.cases:
            if case.key in contenders:
                one = contenders[case.key]
                row = row_of(case, figures[case.key], one.lone_ms[1:], setting.roofs[case.precision])
                difference = setting.references.score_error(case, one.engine)
                rows[case.key] = row | {"score_error": difference, "clocks": [before, after]}
    return rows


def _contender(case: Case, model: DeployModel, setting: Setting) -> Rounds:
    """Build what a case needs. What only some cases need is imported here, so that the others do without."""
    if case.runner == "tensorrt":
        from gpu_tensorrt import build_tensorrt  # noqa: PLC0415

        engine: Engine = build_tensorrt(case, model, setting.device)
    else:
        engine = build_engine(case, model, setting.device)
    if case.scope == "pictures":
        from gpu_pictures import PictureRounds  # noqa: PLC0415

        return PictureRounds(engine, setting.picture_hw, setting.device, setting.seconds)
    return EngineRounds(engine, setting.device, setting.seconds)


def _roof(card: str, precision: str, arguments: argparse.Namespace) -> Roof | None:
    if arguments.peak_tflops and arguments.bandwidth_gbs:
        return Roof(arguments.peak_tflops, arguments.bandwidth_gbs, BYTES[precision])
    return find_roof(card, precision)


def _menu(arguments: argparse.Namespace) -> Menu:
    defaults = _ON_GPU if arguments.device.startswith("cuda") else _ON_CPU
    chosen = {name: getattr(arguments, name) or values for name, values in defaults.items()}
    if not arguments.runners and defaults is _ON_GPU and importlib.util.find_spec("tensorrt"):
        chosen["runners"] = (*chosen["runners"], "tensorrt")
    return Menu(variants=arguments.variants, scopes=arguments.scopes, shapes_hw=arguments.shapes, **chosen)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="figures as JSON; those in it are not measured again")
    parser.add_argument("--table", action="store_true", help="measure nothing, print what is there")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu (default: cuda)")
    parser.add_argument("--budget-s", type=float, default=540, help="no block is begun that may end later (540)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--shapes", type=parse_pair, nargs="+", default=(), metavar="HxW", help="for all variants")
    parser.add_argument("--batches", type=int, nargs="+", metavar="N", help="the most important first (1 32 8 16 64)")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, help="(graph eager, and tensorrt where it is)")
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=SCOPES)
    parser.add_argument("--picture", type=parse_pair, default=(640, 480), metavar="WxH", help="of the files (640x480)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each round (0.2)")
    parser.add_argument("--peak-tflops", type=float, help="for the roofline, instead of the card's data sheet")
    parser.add_argument("--bandwidth-gbs", type=float, help="for the roofline, instead of the card's data sheet")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
