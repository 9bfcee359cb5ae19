"""Through Triton: the gateway beside NVIDIA's perf_analyzer, which asks the same server for the same input directly.

    make triton
    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/gateway.py --repository /tmp/repository --model tiny [--clients 8]

Starts a tritonserver with the model on the CPU (``deploy/triton``) and a gateway. Both generators keep the same number
of requests in flight; perf_analyzer sends pixels of the shape that the photos are letterboxed to, by gRPC and by shared
memory, and the better of both is the reference. Both generators share the cores. With ``--triton`` a server that runs
already is measured; ``--repository`` is then what it serves.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from contenders import ours
from contest import ClosedLoop, print_loads
from load import HOST
from perf_analyzer import PerfAnalyzer, fetch
from photos import add_arguments, chosen, copies
from rounds import best, interleave, report, save
from server import PORT, PYTHON, ROOT, Command, Server, free_port

from service.vision.image import read_header
from service.vision.letterbox import choose_shape
from service.vision.spec import ModelSpec

_TRITON = ROOT / "deploy" / "triton"
_COPIES = 128


def main() -> None:
    """Start both servers, measure in rounds, print the ratio and the percentiles."""
    arguments = _arguments()
    fetch()
    jpegs = chosen(arguments)
    with ExitStack() as stack:
        repository, url = stack.enter_context(_triton(arguments))
        shape_hw = _shape(repository / arguments.model, jpegs)
        flags = ["--engine", "triton", "--triton-urls", url, "--default-model", arguments.model]
        flags += ["--model-repository", str(repository), *arguments.flags.split()]
        gateway = ours("gateway", *flags)
        requests = gateway.requests(copies(jpegs, _COPIES), {"Cache-Control": "no-store"})
        server = stack.enter_context(Server(gateway.command))
        loop = ClosedLoop(server, requests, arguments.clients, arguments.seconds)
        analyzers = {
            f"perf_analyzer, {'shared memory' if shared else 'gRPC'}": PerfAnalyzer(
                url, arguments.model, shape_hw, arguments.clients, shared_memory=shared
            )
            for shared in (False, True)
        }
        direct: dict[str, Callable[[], float]] = {
            name: partial(analyzer.per_second, arguments.seconds) for name, analyzer in analyzers.items()
        }
        figures = interleave(direct | {"gateway": loop}, rounds=arguments.rounds)
    title = f"{arguments.model} at {shape_hw[0]}×{shape_hw[1]}, {arguments.clients} in flight"
    ratios = report(title, "images/s", figures, reference=best(figures, list(analyzers)))
    print_loads({"gateway": loop})
    loads = {"gateway": [load.summary() for load in loop.measured]}
    save(arguments.out, title=title, figures=figures, ratios=ratios, loads=loads)


@contextmanager
def _triton(arguments: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """A running Triton: the repository it serves, and where it speaks gRPC."""
    if arguments.triton:
        yield arguments.repository.absolute(), arguments.triton
        return
    with tempfile.TemporaryDirectory(prefix="bench-triton-") as folder:
        convert = [PYTHON, _TRITON / "cpu_repository.py", arguments.repository, folder]
        subprocess.run([*map(str, convert), "--precision", arguments.precision], cwd=ROOT, check=True)
        grpc = free_port()
        start = (str(PYTHON), str(_TRITON / "tritonserver.py"), folder, "--load", arguments.model)
        ports = ("--http-port", PORT, "--grpc-port", str(grpc), "--metrics-port", str(free_port()))
        with Server(Command((*start, *ports), "/v2/health/ready", end_by_interrupt=True)):
            yield Path(folder), f"{HOST}:{grpc}"


def _shape(model: Path, jpegs: list[bytes]) -> tuple[int, int]:
    """The input shape that all photos are letterboxed to."""
    spec = ModelSpec.from_json((model / "spec.json").read_text())
    shapes = {choose_shape(read_header(jpeg, max_pixels=10**9).upright_hw, spec.input_shapes) for jpeg in jpegs}
    if len(shapes) > 1:
        raise SystemExit(f"the photos go to several input shapes, {sorted(shapes)}; perf_analyzer sends one")
    return shapes.pop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--model", default="vehicles")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    parser.add_argument("--triton", metavar="HOST:PORT", help="gRPC address of a server that runs already")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flags", default="", help="more flags for the gateway, in one string")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
