"""What a framework costs: an engine that sleeps 2 ms a batch, under ours, LitServe and a plain FastAPI handler.

    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/framework.py --repository /tmp/repository [--clients 16] [--sleep-ms 2]

Every contender decodes the same JPEGs, letterboxes them into the same shapes, suppresses the same candidates and
answers JSON. LitServe and FastAPI take part in the arrangement that was fastest in a pilot. Ours runs one batch of up
to 16 at a time; LitServe one in each worker, FastAPI as many as there are requests, which is in their favour. The
ceiling is decode and letterbox alone in two threads. The load generator shares the cores and its time is printed.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

from ceiling import DecodeCeiling
from contenders import LITSERVE_SLEEPING, fastapi, litserve, ours_sleeping
from contest import ClosedLoop, Pilot, print_loads
from photos import add_arguments, chosen, copies
from rounds import interleave, report, save
from server import Server

from service.vision.spec import ModelSpec

_COPIES = 256
_CEILING = "decode + letterbox, 2 threads"


def main() -> None:
    """Choose the arrangements, measure in rounds, print ratios and percentiles."""
    arguments = _arguments()
    spec = ModelSpec.from_json((arguments.repository / arguments.model / "spec.json").read_text())
    images = copies(chosen(arguments), _COPIES)
    pilot = Pilot(images, arguments.clients, arguments.pilot_seconds)
    shapes = ["--shapes", *(f"{height}x{width}" for height, width in spec.input_shapes)]
    sleep = ["--sleep-ms", str(arguments.sleep_ms)]
    lit, lit_pilot = pilot.fastest(litserve(LITSERVE_SLEEPING, *sleep, *shapes))
    plain, plain_pilot = pilot.fastest(fastapi(*sleep, *shapes))
    repository = ["--model-repository", str(arguments.repository.absolute()), "--default-model", arguments.model]
    mine = ours_sleeping("ours", *sleep, *repository, "--log-level", "warning", *arguments.flags.split())
    ceiling = DecodeCeiling(images, spec.input_shapes)
    with ExitStack() as stack:
        loops = {}
        for name, contender in {"ours": mine, "LitServe": lit, "FastAPI": plain}.items():
            requests = contender.requests(images, {"Cache-Control": "no-store"})
            server = stack.enter_context(Server(contender.command))
            loops[name] = ClosedLoop(server, requests, arguments.clients, arguments.seconds)
        figures = interleave({_CEILING: lambda: ceiling.per_second(arguments.seconds)} | loops, rounds=arguments.rounds)
    title = f"engine of {arguments.sleep_ms:g} ms a batch, {arguments.clients} clients"
    ratios = report(title, "requests/s", figures, reference=_CEILING)
    for name, contender in (("LitServe", lit), ("FastAPI", plain)):
        print(f"ours / {contender.name}: {ratios['ours'] / ratios[name]:.3f}")
    print_loads(loops)
    loads = {name: [load.summary() for load in loop.measured] for name, loop in loops.items()}
    save(arguments.out, title=title, figures=figures, ratios=ratios, pilot=lit_pilot | plain_pilot, loads=loads)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--repository", type=Path, required=True, help="written by bench/make_model.py")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sleep-ms", type=float, default=2.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flags", default="", help="more flags for our service, in one string")
    parser.add_argument("--pilot-seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
