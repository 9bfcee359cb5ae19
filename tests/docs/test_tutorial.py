"""A newcomer who types what the tutorial says gets what it says. Only ports are others, so that they are free.

The blocks are one walk: each needs what those before it have left.
"""

import contextlib
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

PAGE = "tutorial.md"
SERVES = "make serve"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def ports(free_port: Callable[[], int]) -> dict[str, int]:
    """By the number that the page has."""
    return {number: free_port() for number in ("8000", "50051", "8554", "9095")}


@pytest.fixture(scope="module")
def first(terminal: Callable[..., Any], ports: dict[str, int]) -> Any:
    """The terminal in which the service stays."""
    return terminal(YOLOV7_PORT=str(ports["8000"]), YOLOV7_GRPC_PORT=str(ports["50051"]))


@pytest.fixture(scope="module")
def second(terminal: Callable[..., Any]) -> Any:
    """The terminal of everything else."""
    return terminal()


def test_a_block_does_what_the_page_says(block: Any, first: Any, second: Any, ports: dict[str, int]):
    lacking = missing(block.commands)
    if lacking:
        pytest.skip(f"needs {lacking}")
    if block.commands == SERVES:
        first.start(block.commands)
        await_ready(f"http://127.0.0.1:{ports['8000']}/readyz")
        return
    commands = moved(block.commands, ports)
    status, printed = second.run(commands)
    until = time.monotonic() + PATIENCE_S
    # Prometheus needs a moment to start, and looks once a second.
    while "promtool" in commands and (status or not block.answered_by(printed)) and time.monotonic() < until:
        status, printed = second.run(commands)
    assert status == 0, printed
    assert block.answered_by(printed), f"the page promises\n{block.answer}\nand it printed\n{printed}"


def test_the_page_is_not_empty_of_commands(blocks: Callable[[str], list[Any]]):
    run = [block for block in blocks(PAGE) if block.is_run]
    assert len(run) >= 10
    assert run[0].commands == SERVES
    assert sum(block.answer is not None for block in run) >= 6


def moved(commands: str, ports: dict[str, int]) -> str:
    """The same commands with other ports; `camera` is told where its service is, which it need not be otherwise."""
    for number, port in ports.items():
        commands = commands.replace(f"127.0.0.1:{number}", f"127.0.0.1:{port}")
    where = f"--url http://127.0.0.1:{ports['8000']} --grpc 127.0.0.1:{ports['50051']}"
    commands = commands.replace("yolov7-service camera", f"yolov7-service camera {where}")
    return commands.replace("rtsp_server.py 8554", f"rtsp_server.py {ports['8554']}")


def await_ready(url: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        # Another process's port can only be tried.
        time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


def missing(commands: str) -> str | None:
    """What this machine lacks of what the page has installed by then, or None."""
    if ("prometheus" in commands or "promtool" in commands) and shutil.which("promtool") is None:
        return "Debian's package prometheus"
    wanted = ["/usr/bin/python3", "-c", 'import gi; gi.require_version("GstRtspServer", "1.0")']
    if "rtsp_server" in commands and subprocess.run(wanted, capture_output=True, check=False).returncode:
        return "Debian's GStreamer with its RTSP server and the bindings for Python"
    return None
