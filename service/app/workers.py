"""Several serving processes behind one socket: started, watched, started again, and ended together.

The parent listens and serves nothing. Each child accepts from the same socket, has its own batcher, and writes its
series into one folder, from which any of them answers a scrape for all.
"""

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from service.app.logs import configure_logging
from service.errors import StartError
from service.metrics import SHARED
from service.settings import Settings

logger = logging.getLogger(__name__)

Serve = Callable[[Settings, socket.socket | None], None]

# A child that dies sooner than this after its start is started again only after as long a pause.
RESTART_S = 2.0
# What children get beyond their own drain before they are killed.
GRACE_S = 10.0


def supervise(settings: Settings, serve: Serve) -> None:
    """Runs `settings.workers` processes of `serve` until SIGTERM or SIGINT, which they are handed on. Raises StartError."""
    folder = tempfile.mkdtemp(prefix="yolov7-metrics-")
    # Children read it before they import prometheus_client, which looks only then.
    os.environ[SHARED] = folder
    try:
        with _listen(settings) as listening:
            _Crew(settings, serve, listening).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as exc:
        raise StartError(f"cannot listen on {settings.host} port {settings.port}: {exc.strerror}") from exc
    logger.info("%d workers running on http://%s:%d", settings.workers, settings.host, listening.getsockname()[1])
    return listening


class _Crew:
    def __init__(self, settings: Settings, serve: Serve, listening: socket.socket) -> None:
        self._settings = settings
        self._serve = serve
        self._listening = listening
        self._context = multiprocessing.get_context("spawn")
        self._children: dict[int, SpawnProcess] = {}
        self._started_at: dict[int, float] = {}
        self._signalled = threading.Event()

    def run(self) -> None:
        for wanted in (signal.SIGTERM, signal.SIGINT):
            signal.signal(wanted, self._end)
        for number in range(self._settings.workers):
            self._start(number)
        while not self._signalled.is_set():
            multiprocessing.connection.wait([child.sentinel for child in self._children.values()], timeout=1.0)
            for number in [number for number, child in self._children.items() if not child.is_alive()]:
                self._replace(number)
        self._join()

    def _start(self, number: int) -> None:
        child = self._context.Process(
            target=_child, args=(self._settings, self._serve, self._listening), name=f"worker-{number}"
        )
        child.start()
        self._children[number] = child
        self._started_at[number] = time.monotonic()

    def _replace(self, number: int) -> None:
        child = self._children[number]
        if child.pid is not None:
            mark_process_dead(child.pid)  # type: ignore[no-untyped-call]
        if self._signalled.is_set():
            return
        logger.error("worker %d ended with %s; another one is started", number, child.exitcode)
        if time.monotonic() - self._started_at[number] < RESTART_S:
            self._signalled.wait(RESTART_S)
        if not self._signalled.is_set():
            self._start(number)

    def _end(self, sig: int, frame: FrameType | None) -> None:
        self._signalled.set()
        for child in self._children.values():
            if child.pid is not None and child.is_alive():
                os.kill(child.pid, sig)

    def _join(self) -> None:
        settings = self._settings
        until = time.monotonic() + settings.drain_delay_s + settings.drain_timeout_s + GRACE_S
        for child in self._children.values():
            child.join(max(0.0, until - time.monotonic()))
            if child.is_alive():
                logger.error("%s did not end in time and is killed", child.name)
                child.kill()
                child.join()


def _child(settings: Settings, serve: Serve, listening: socket.socket) -> None:
    configure_logging(settings.log_level, settings.log_format)
    try:
        serve(settings, listening)
    except StartError as exc:
        logger.error("cannot start: %s", exc)
        raise SystemExit(1) from exc
