"""The monitoring as a whole on this machine, under load, with what goes wrong in it."""

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import pytest
import simplejpeg
from skimage import data

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
sys.path += [str(DEPLOY / "monitoring"), str(DEPLOY / "grafana")]
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-redis-exporter": "prometheus-redis-exporter",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}


def need(*programs: str) -> None:
    """Skips by name where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} on PATH: apt-get install {PACKAGES[program]}")


@pytest.fixture(scope="session")
def promtool() -> str:
    need("promtool")
    return "promtool"


def picture(size_wh: tuple[int, int]) -> bytes:
    """A cup of coffee, which the shipped model takes for a car."""
    image = cv2.resize(data.coffee(), size_wh, interpolation=cv2.INTER_AREA)
    return simplejpeg.encode_jpeg(image, quality=90, colorspace="RGB")


@contextmanager
def loaded(stack: Any) -> Iterator[None]:
    """Both gateways have clients at every door, in a loop of their own."""
    from all_doors import AllDoors

    jpegs = [picture((320, 212)), picture((480, 318))]
    doors = [AllDoors(gateway, jpegs) for gateway in (stack.embedded, stack.remote)]

    async def run() -> None:
        await asyncio.gather(*(door.run() for door in doors))

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        yield
    finally:
        for door in doors:
            loop.call_soon_threadsafe(door.stop.set)
        thread.join()
        loop.close()


class Watched:
    """`query` waits until an expression has an answer that is a number; nothing after a minute of waiting."""

    def __init__(self, prometheus: Any) -> None:
        self.prometheus = prometheus

    def query(self, expression: str) -> list[dict[str, Any]]:
        for _ in range(120):
            found = self.prometheus.query(expression)
            if any(series["value"][1] != "NaN" for series in found):
                return found
            time.sleep(0.5)
        return []


def trouble(stack: Any) -> None:
    """Redis hangs, a model dies in Triton, and a keys file is broken; the first two are over at once."""
    stack.redis.send_signal(signal.SIGSTOP)
    watched = Watched(stack.prometheus)
    assert watched.query('yolov7_errors_total{kind="rates"} > 0')
    assert watched.query('yolov7_cache_total{result="skipped"} > 0')
    stack.redis.send_signal(signal.SIGCONT)
    os.kill(stack.triton.stubs()[0], signal.SIGKILL)
    stack.keys.write_text("[[")


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, compiled: Path) -> Iterator[Watched]:
    """Everything real, under load until the end of the tests."""
    need("prometheus", "prometheus-redis-exporter")
    from local_stack import LocalStack, server_missing

    if reason := server_missing():
        pytest.skip(reason)
    with LocalStack(tmp_path_factory.mktemp("stack"), compiled) as stack, loaded(stack):
        trouble(stack)
        yield Watched(stack.prometheus)


@pytest.fixture(scope="session")
def at_any_gateway() -> Callable[[str], str]:
    """A panel's query as Grafana would send it with everything chosen."""

    def fill(query: str) -> str:
        for name in ("$gateway", "$model", "$server"):
            query = query.replace(name, ".*")
        return query.replace("$__rate_interval", "15s")

    return fill
