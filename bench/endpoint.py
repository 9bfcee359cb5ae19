"""The embedded engine: ``POST /v1/detect`` beside the bare loop and a LitServe application of one's own.

    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/endpoint.py --repository /tmp/repository --model tiny                      # 773×512 photos
    .venv/bin/python bench/endpoint.py --repository /tmp/repository --model tiny --size 1920x1080 --rival-shapes 640x640
    .venv/bin/python bench/endpoint.py --model hit-uav --precision int8 --rival-precision bf16 --size 1920x1080 \
        --rival-shapes 640x640

All contenders use the same model, decoder and cores, and the same precision unless ``--rival-precision`` differs.
The bare loop decodes, letterboxes, infers and suppresses without queue, HTTP or JSON: the best of 2 to 4 threads is the
reference. LitServe takes part in the arrangement that was fastest in a pilot; with ``--rival-shapes 640x640`` it
letterboxes to squares, as one does without rectangles. No two requests in flight carry the same bytes, and ours is told
not to keep answers, so nothing is answered from a cache. The load generator shares the cores and its time is printed.
The machine should be otherwise idle.
"""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bare import BareLoop
from contenders import LITSERVE_OPENVINO, Contender, litserve, ours
from contest import ClosedLoop, Pilot, print_loads
from photos import add_arguments, chosen, copies
from rounds import best, interleave, report, save
from server import Server

_COPIES = 128
_NO_STORE = {"Cache-Control": "no-store"}


def main() -> None:
    """Start the servers, measure in rounds, print ratios and percentiles."""
    arguments = _arguments()
    images = copies(chosen(arguments), _COPIES)
    model = arguments.repository / arguments.model
    loops = {
        f"bare loop, {threads} threads": BareLoop(model, precision=arguments.precision, threads=threads)
        for threads in arguments.bare_threads
    }
    contenders = {"ours": _ours(arguments)}
    pilot: dict[str, float] = {}
    if arguments.rivals:
        contenders["LitServe"], pilot = Pilot(images, arguments.clients, arguments.pilot_seconds).fastest(
            _litserve(arguments)
        )
    with ExitStack() as stack:
        servers = {}
        for name, contender in contenders.items():
            server = stack.enter_context(Server(contender.command))
            requests = contender.requests(images, _NO_STORE)
            servers[name] = ClosedLoop(server, requests, arguments.clients, arguments.seconds)
        bare: dict[str, Callable[[], float]] = {
            name: partial(loop.per_second, images, seconds=arguments.seconds) for name, loop in loops.items()
        }
        figures = interleave(bare | servers, rounds=arguments.rounds)
    title = f"{arguments.model}, {arguments.precision}, {arguments.clients} clients"
    ratios = report(title, "images/s", figures, reference=best(figures, list(loops)))
    if "LitServe" in ratios:
        print(f"ours / LitServe ({contenders['LitServe'].name}): {ratios['ours'] / ratios['LitServe']:.3f}")
    print_loads(servers)
    loads = {name: [load.summary() for load in loop.measured] for name, loop in servers.items()}
    save(arguments.out, title=title, figures=figures, ratios=ratios, pilot=pilot, loads=loads)


def _ours(arguments: argparse.Namespace) -> Contender:
    flags = ["--precision", arguments.precision, "--default-model", arguments.model]
    flags += ["--model-repository", str(arguments.repository.absolute())]
    return ours("ours", *flags, *arguments.flags.split(), query=f"?model={arguments.model}")


def _litserve(arguments: argparse.Namespace) -> list[Contender]:
    flags = ["--model", str((arguments.repository / arguments.model).absolute())]
    flags += ["--precision", arguments.rival_precision or arguments.precision]
    shapes = ["--shapes", *arguments.rival_shapes] if arguments.rival_shapes else []
    return litserve(LITSERVE_OPENVINO, *flags, *shapes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--model", default="vehicles")
    parser.add_argument("--precision", choices=("f32", "bf16", "int8"), default="bf16")
    parser.add_argument("--rival-precision", choices=("f32", "bf16"), help="LitServe's (default: ours)")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bare-threads", type=int, nargs="+", default=(2, 3, 4))
    parser.add_argument("--flags", default="", help="more flags for our service, in one string")
    parser.add_argument("--no-rivals", dest="rivals", action="store_false", help="leave LitServe out")
    parser.add_argument("--rival-shapes", nargs="*", default=[], metavar="HxW", help="LitServe's (default: ours)")
    parser.add_argument("--pilot-seconds", type=float, default=4.0)
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
