"""``yolov7-service serve`` on a staging repository, for as long as somebody asks it something.

It is a process of its own, started by its command: what is measured is what will serve. Nothing is known here of what
is asked.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from training.export.session import ExportError

START_S = 600.0  # the largest variants compile for minutes
STOP_S = 20.0
_RUNNING = re.compile(r"running on (http://\S+)")


@contextmanager
def serving(repository: Path, model: str, settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the URL of a service that has ``model`` loaded; it ends with the block.

    Raises ExportError with the service's last words if it does not start.
    """
    given = {
        "host": "127.0.0.1",
        "port": "0",
        "grpc": "false",
        "model_repository": str(repository.absolute()),
        "default_model": model,
        "cache_memory_bytes": "0",
        **settings,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    # What the environment sets is meant for the service that serves, keys and limits among it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("YOLOV7_")}
    command = [sys.executable, "-m", "service", "serve", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True, errors="replace")  # noqa: S603
    lines: SimpleQueue[str | None] = SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield _url(lines)
    finally:
        _end(process)
        reader.join()
        if process.stderr:
            process.stderr.close()


def _read(process: subprocess.Popen[str], lines: "SimpleQueue[str | None]") -> None:
    """Its log must be read to the end, or the service stops at a full pipe."""
    assert process.stderr is not None
    for line in process.stderr:
        lines.put(line.strip())
    lines.put(None)


def _url(lines: "SimpleQueue[str | None]") -> str:
    last = "it said nothing"
    try:
        while (line := lines.get(timeout=START_S)) is not None:
            if found := _RUNNING.search(line):
                return found[1]
            last = line or last
    except Empty:
        raise ExportError(f"the service did not start in {START_S:.0f} s; its last words: {last}") from None
    raise ExportError(last.removeprefix("yolov7-service: "))


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
