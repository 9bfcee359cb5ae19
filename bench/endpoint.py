"""``POST /v1/detect`` with 8 clients beside the bare loop: what queue, HTTP and JSON cost.

    .venv/bin/python bench/endpoint.py PHOTO.jpg [PHOTO.jpg ...] [--model vehicles] [--precision bf16]

Both contenders use the same model, precision and cores; the load generator shares the cores and its time is printed.
The machine should be otherwise idle.
"""

import argparse
import asyncio
import http.client
import subprocess
import sys
import time
from pathlib import Path

from bare import BareLoop
from load import Load, drive, request_bytes
from rounds import interleave, report

_HOST = "127.0.0.1"


def main() -> None:
    """Start a service, measure both, print the ratio and the percentiles."""
    arguments = _arguments()
    images = [photo.read_bytes() for photo in arguments.photos]
    repository = arguments.repository
    command = [sys.executable, "-m", "service", "serve", "--host", _HOST, "--port", str(arguments.port)]
    command += ["--precision", arguments.precision, "--log-level", "warning"]
    command += ["--model-repository", str(repository), "--default-model", arguments.model]
    loops = {
        f"bare loop, {threads} threads": BareLoop(
            repository / arguments.model, precision=arguments.precision, threads=threads
        )
        for threads in (2, 3, 4)
    }
    requests = [request_bytes(image, host=_HOST, path=f"/v1/detect?model={arguments.model}") for image in images]
    loads: list[Load] = []

    def endpoint() -> float:
        loads.append(
            asyncio.run(drive(_HOST, arguments.port, requests, clients=arguments.clients, seconds=arguments.seconds))
        )
        return loads[-1].per_second

    contenders = {
        name: lambda loop=loop: loop.per_second(images, seconds=arguments.seconds) for name, loop in loops.items()
    }
    with subprocess.Popen(command) as server:
        try:
            _await_ready(arguments.port)
            figures = interleave(contenders | {"POST /v1/detect": endpoint}, rounds=arguments.rounds)
        finally:
            server.terminate()
    best = max(loops, key=lambda name: sorted(figures[name])[len(figures[name]) // 2])
    report(f"{arguments.model}, {arguments.precision}, {len(images)} photos", "images/s", figures, reference=best)
    for load in loads[1:]:
        median, late = 1e3 * load.percentile(0.5), 1e3 * load.percentile(0.99)
        own = load.cpu_seconds / load.seconds
        print(f"p50 {median:.1f} ms  p99 {late:.1f} ms  {load.statuses}  load generator {own:.2f} cores")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--model", default="vehicles")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=8123)
    return parser.parse_args()


def _await_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(_HOST, port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    raise SystemExit("the service did not get ready within 60 s")


if __name__ == "__main__":
    main()
