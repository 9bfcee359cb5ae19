"""Several serving processes behind one socket: started, watched, started again, and ended together.

The parent listens and serves nothing. Each child accepts from the same socket, has its own batcher, and writes its
series into one folder, from which any of them answers a scrape for all.
"""

import contextlib
import logging
import multiprocessing.connection
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from service.app.logs import configure_logging
from service.errors import StartError
from service.metrics import SHARED
from service.settings import Settings

logger = logging.getLogger(__name__)

Serve = Callable[[Settings, socket.socket | None], None]

# A child that dies sooner than this after its start is started again only when so much has passed.
RESTART_S = 2.0
# What children get beyond their own drain before they are killed.
GRACE_S = 10.0
# How a child ends that cannot start: if one of the first does, so would all, for ever.
CANNOT_START = 78


def supervise(settings: Settings, serve: Serve) -> None:
    """Runs `settings.workers` processes of `serve` until SIGTERM or SIGINT, which they are handed on.

    Raises StartError where the port is taken, or where `serve` raises it from the first.
    """
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


@dataclass(slots=True)
class _Worker:
    """`told`: how many of the signals it was handed on. `first`: it takes the place of none that has died."""

    process: SpawnProcess
    first: bool
    started_at: float
    told: int = 0
    buried: bool = False


class _Crew:
    def __init__(self, settings: Settings, serve: Serve, listening: socket.socket) -> None:
        self._settings = settings
        self._serve = serve
        self._listening = listening
        self._context = multiprocessing.get_context("spawn")
        self._children: dict[int, _Worker] = {}
        self._signals: list[int] = []
        self._cannot_start = False

    def run(self) -> None:
        for wanted in (signal.SIGTERM, signal.SIGINT):
            signal.signal(wanted, self._end)
        for number in range(self._settings.workers):
            self._start(number, first=True)
        while not self._signals:
            alive = [child.process.sentinel for child in self._children.values() if not child.buried]
            multiprocessing.connection.wait(alive, timeout=1.0)
            self._look_after()
        # From now on the door is the children's alone: when the last of them shuts it, nobody knocks in vain.
        self._listening.close()
        self._join()
        if self._cannot_start:
            raise StartError("a worker cannot start, its line above says why")

    def _start(self, number: int, *, first: bool = False) -> None:
        if self._signals:
            return
        process = self._context.Process(
            target=_child, args=(self._settings, self._serve, self._listening), name=f"worker-{number}"
        )
        process.start()
        self._children[number] = _Worker(process, first, time.monotonic())
        # One that came while it was being started could not be handed on to it.
        self._hand_on()

    def _look_after(self) -> None:
        """Buries who has died, and starts another one, now or when its time has come."""
        for number, child in list(self._children.items()):
            if child.process.is_alive():
                continue
            if not child.buried:
                self._bury(child)
            if time.monotonic() - child.started_at >= RESTART_S:
                self._start(number)

    def _bury(self, child: _Worker) -> None:
        child.buried = True
        mark_process_dead(child.process.pid)  # type: ignore[no-untyped-call]
        if self._signals:
            return
        if child.first and child.process.exitcode == CANNOT_START:
            self._cannot_start = True
            self._end(signal.SIGTERM, None)
            return
        logger.error("%s ended with %s; another one is started", child.process.name, child.process.exitcode)

    def _end(self, sig: int, frame: FrameType | None) -> None:
        """May interrupt anything below but itself, so it takes no lock."""
        self._signals.append(sig)
        self._hand_on()

    def _hand_on(self) -> None:
        for child in list(self._children.values()):
            while child.told < len(self._signals):
                child.told += 1
                # Whether it still lives is for others to ask: the answer could be lost to whom this interrupts.
                if not child.buried and child.process.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.process.pid, self._signals[child.told - 1])

    def _join(self) -> None:
        settings = self._settings
        until = time.monotonic() + settings.drain_delay_s + settings.drain_timeout_s + GRACE_S
        for child in self._children.values():
            child.process.join(max(0.0, until - time.monotonic()))
            if child.process.is_alive():
                logger.error("%s did not end in time and is killed", child.process.name)
                child.process.kill()
                child.process.join()


def _child(settings: Settings, serve: Serve, listening: socket.socket) -> None:
    # A terminal's Ctrl-C then reaches the parent alone, which hands it on: a child that had it twice would end at once.
    os.setpgrp()
    configure_logging(settings.log_level, settings.log_format)
    try:
        serve(settings, listening)
    except StartError as exc:
        logger.error("cannot start: %s", exc)
        raise SystemExit(CANNOT_START) from exc
