"""Several serving processes behind one socket: started, watched, started again, and ended together.

The parent listens and serves nothing. Each child accepts from the same socket, and for gRPC from one of its own on a
port that all share, has its own batcher, and writes its series into one folder, from which any of them answers a scrape
for all. A child ends with its parent, however that
ends: nobody else would ever end it, and the port would stay taken.
"""

import contextlib
import logging
import multiprocessing.connection
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from service.app.logs import configure_logging
from service.app.shared_folder import has_served, shared_folder, use
from service.errors import StartError
from service.metrics import SHARED
from service.settings import Settings
from service.streams.server import reserve_port

logger = logging.getLogger(__name__)

Serve = Callable[[Settings, socket.socket | None], None]

# A child that dies sooner than this after its start is started again only when so much has passed; twice as much each
# time that it dies again, since every dead child leaves files that each scrape adds up.
FIRST_RESTART_S = 2.0
LAST_RESTART_S = 30.0
# What children get beyond their own drain before they are killed.
GRACE_S = 10.0
# How a child ends that has said why it cannot start.
CANNOT_START = 78


def supervise(settings: Settings, serve: Serve) -> None:
    """Runs `settings.workers` processes of `serve` until SIGTERM, SIGINT or SIGHUP, which they are handed on.

    `serve` calls shared_folder.mark_served once it serves. Raises StartError where the port is taken, or where one of
    the first processes ends badly before that.
    """
    with shared_folder() as folder, _listen(settings) as listening, _grpc_port(settings) as port:
        _Crew(settings.model_copy(update={"grpc_port": port}), serve, listening, folder).run()


def next_pause(pause_s: float, lived_s: float) -> float:
    """From the start of a child to that of its successor, at least: what it was before, and how long that one lived."""
    return FIRST_RESTART_S if lived_s >= LAST_RESTART_S else min(2 * pause_s, LAST_RESTART_S)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as exc:
        raise StartError(f"cannot listen on {settings.host} port {settings.port}: {exc.strerror}") from exc
    logger.info("%d workers running on http://%s:%d", settings.workers, settings.host, listening.getsockname()[1])
    return listening


@contextlib.contextmanager
def _grpc_port(settings: Settings) -> Iterator[int]:
    """The one on which each child listens for itself; within, nobody else can take it."""
    if not settings.grpc:
        yield settings.grpc_port
        return
    with reserve_port(settings.host, settings.grpc_port) as reserved:
        port = reserved.getsockname()[1]
        logger.info("%d workers take gRPC on %s:%d", settings.workers, settings.host, port)
        yield port


@dataclass(slots=True)
class _Worker:
    """`told`: how many of the signals it was handed on. `first`: it takes the place of none that has died.

    `pause_s`: from its start to that of its successor, at least.
    """

    process: SpawnProcess
    first: bool
    started_at: float
    pause_s: float
    told: int = 0
    died_at: float | None = None

    @property
    def buried(self) -> bool:
        return self.died_at is not None


class _Crew:
    def __init__(self, settings: Settings, serve: Serve, listening: socket.socket, folder: Path) -> None:
        self._settings = settings
        self._serve = serve
        self._listening = listening
        self._folder = folder
        self._context = multiprocessing.get_context("spawn")
        self._children: dict[int, _Worker] = {}
        self._signals: list[int] = []
        self._cannot_start: str | None = None

    def run(self) -> None:
        with _woken_by_signals() as signalled:
            for wanted in (signal.SIGTERM, signal.SIGINT):
                signal.signal(wanted, self._end)
            # Under nohup it stays ignored.
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, self._end)
            for number in range(self._settings.workers):
                self._start(number, first=True)
            while not self._signals:
                alive = [child.process.sentinel for child in self._children.values() if not child.buried]
                multiprocessing.connection.wait([*alive, signalled], timeout=self._until_restart())
                self._look_after()
        # From now on the door is the children's alone: when the last of them shuts it, nobody knocks in vain.
        self._listening.close()
        self._join()
        if self._cannot_start:
            raise StartError(self._cannot_start)

    def _until_restart(self) -> float | None:
        """None where nobody waits to be replaced."""
        due = [child.started_at + child.pause_s for child in self._children.values() if child.buried]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start(self, number: int, *, first: bool = False, pause_s: float = FIRST_RESTART_S) -> None:
        if self._signals:
            return
        process = self._context.Process(
            target=_child, args=(self._settings, self._serve, self._listening), name=f"worker-{number}"
        )
        process.start()
        self._children[number] = _Worker(process, first, time.monotonic(), pause_s)
        # One that came while it was being started could not be handed on to it.
        self._hand_on()

    def _look_after(self) -> None:
        """Buries who has died, and starts another one, now or when its time has come."""
        for number, child in list(self._children.items()):
            if child.process.is_alive():
                continue
            now = time.monotonic()
            if child.died_at is None:
                child.died_at = now
                self._bury(child)
            if now - child.started_at >= child.pause_s:
                self._start(number, pause_s=next_pause(child.pause_s, child.died_at - child.started_at))

    def _bury(self, child: _Worker) -> None:
        process = child.process
        assert process.pid is not None
        mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        if self._signals:
            return
        if child.first and process.exitcode and not has_served(self._folder, process.pid):
            # So would all, for ever.
            said = "cannot start, its line above says why"
            ended = f"ended with {process.exitcode} before it had served"
            self._cannot_start = f"a worker {said if process.exitcode == CANNOT_START else ended}"
            self._end(signal.SIGTERM, None)
            return
        logger.error("%s ended with %s; another one is started", process.name, process.exitcode)

    def _end(self, sig: int, frame: FrameType | None) -> None:
        """May interrupt anything below but itself, so it takes no lock."""
        # A terminal that was closed asks for the same, but is none of the children's signals.
        self._signals.append(signal.SIGTERM if sig == signal.SIGHUP else sig)
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
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    use(Path(os.environ[SHARED]))
    try:
        serve(settings, listening)
    except StartError as exc:
        logger.error("cannot start: %s", exc)
        raise SystemExit(CANNOT_START) from exc


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    # It is the only one that hands signals on, and this is how it ends without a last one.
    multiprocessing.connection.wait([parent.sentinel])
    main = threading.main_thread().ident
    assert main is not None
    # To the thread that runs the handlers: another one's would not wake it.
    signal.pthread_kill(main, signal.SIGTERM)


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[int]:
    """What can be read once a signal has come: a wait is taken up again after a handler that returns (PEP 475)."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
