"""One serving process: the HTTP server around the service, and its end.

SIGTERM or SIGINT turns the service not ready first, closes the door after the drain delay, finishes what was accepted,
and closes; while the models are still being loaded, it ends that. A second signal ends at once.

A client is whom the socket names: X-Forwarded-For is believed of nobody, since who may choose an address may choose a
rate. A gateway behind a proxy that is to be trusted needs a setting that names it.
"""

import asyncio
import logging
import signal
import socket
import time
from types import FrameType

import uvicorn

from service.app.logs import configure_logging
from service.app.memory import keep_freed_memory, settle
from service.app.protocol import BoundedProtocol
from service.app.service import VERSION, Service, build_application
from service.app.workers import supervise
from service.settings import Settings

logger = logging.getLogger(__name__)

# A camera or a page that has lost its network is noticed by then.
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0


class Server(uvicorn.Server):
    """uvicorn, with the service started before the door opens and closed after it is shut."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._closes_at: float | None = None
        self._starting: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until a signal ends it. Raises StartError before the door opens."""
        keep_freed_memory()
        try:
            with self.capture_signals():
                if await self._start():
                    await super().serve(sockets)
        finally:
            await self._service.aclose()
        logger.info("closed")

    async def _start(self) -> bool:
        """Whether the service has started; a signal keeps it from that."""
        self._starting = asyncio.create_task(self._service.start())
        logger.info("starting")
        try:
            await self._starting
        except asyncio.CancelledError:
            if self._closes_at is None:
                raise
            logger.info("ended before it had started")
            return False
        settle()
        return True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one ends at once. Runs between any two steps of what it interrupts."""
        starting = self._starting is not None and not self._starting.done()
        if self._closes_at is not None:
            self.should_exit = self.force_exit = True
            if starting:
                signal.signal(sig, signal.SIG_DFL)
                signal.raise_signal(sig)
            return
        self._service.draining = True
        self._closes_at = time.monotonic() + self._service.settings.drain_delay_s
        if self._starting is not None and starting:
            # Wakes the loop, too, which may wait for nothing but a thread that compiles.
            self._starting.get_loop().call_soon_threadsafe(self._starting.cancel)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if self._closes_at is not None and time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(settings: Settings) -> None:
    """Serves until a signal ends it, by as many processes as the settings ask for. Raises StartError."""
    configure_logging(settings.log_level, settings.log_format)
    logger.info("yolov7-service %s with %s", VERSION, settings.as_line())
    if settings.workers > 1:
        supervise(settings, serve_on)
    else:
        serve_on(settings, None)


def serve_on(settings: Settings, listening: socket.socket | None) -> None:
    """Serves in this process, on a socket that listens already or on one of its own. Raises StartError."""
    service = Service(settings)
    config = uvicorn.Config(
        build_application(service),
        host=settings.host,
        port=settings.port,
        loop="auto",
        http=BoundedProtocol,
        ws="websockets-sansio",
        ws_max_size=settings.max_body_bytes,
        ws_ping_interval=PING_INTERVAL_S,
        ws_ping_timeout=PING_TIMEOUT_S,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )
    Server(config, service).run(sockets=[listening] if listening else None)
