"""Workers that answer by a bare loop instead of the service: run by test_workers, in a process of its own.

    python bare_workers.py port=0 workers=2 ...

`default_model` says how they behave: "unable" to start, "broken" or "killed" while they start, "patient" (two signals
end it), or anything else.
"""

import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from service.app.logs import configure_logging
from service.app.shared_folder import mark_served
from service.app.workers import supervise
from service.errors import StartError
from service.metrics import SHARED, Metrics
from service.settings import Settings

logger = logging.getLogger(__name__)


def answer(settings: Settings, listening: socket.socket | None) -> None:
    """/metrics as the service has it; any other path: who answers. Each answer counts as one request."""
    if settings.default_model == "unable":
        raise StartError("no model at all")
    if settings.default_model == "broken":
        raise RuntimeError("a bug")
    if settings.default_model == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    end_by_signals(2 if settings.default_model == "patient" else 1)
    metrics = Metrics(CollectorRegistry())
    metrics.in_flight.set(1)
    mark_served(Path(os.environ[SHARED]))
    while True:
        connection, _ = listening.accept()
        with connection:
            path = connection.recv(1 << 16).split()[1]
            metrics.requests.labels("http", "/", "200").inc()
            who = {"pid": os.getpid(), "folder": os.environ.get(SHARED)}
            body = metrics.exposition() if path == b"/metrics" else json.dumps(who).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def end_by_signals(needed: int) -> None:
    told: list[int] = []

    def tell(sig: int, _: object) -> None:
        told.append(sig)
        logger.info("told %d", os.getpid())
        if len(told) == needed:
            sys.exit(0)

    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, tell)


if __name__ == "__main__":
    usual = ["engine=triton", "workers=2", "port=0", "grpc=false"]
    chosen = Settings.load(dict(pair.split("=") for pair in [*usual, *sys.argv[1:]]))
    configure_logging("info", "text")
    try:
        supervise(chosen, answer)
    except StartError as exc:
        sys.exit(f"yolov7-service: {exc}")
