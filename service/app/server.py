"""One serving process: the HTTP and the gRPC server around the service, and their end.

SIGTERM or SIGINT turns the service not ready first, closes the doors after the drain delay, finishes what was accepted,
and closes; while the models are still being loaded, it ends that. A second signal ends at once.

A client is whom the socket names: X-Forwarded-For is believed of nobody, since who may choose an address may choose a
rate. A gateway behind a proxy that is to be trusted needs a setting that names it.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from service.app.certificate import Certificate
from service.app.grpc import build_grpc
from service.app.http import build_application
from service.app.logs import configure_logging
from service.app.memory import keep_freed_memory, settle
from service.app.protocol import BoundedProtocol
from service.app.service import VERSION, Service
from service.app.websocket import BoundedWebSocket
from service.app.workers import supervise
from service.errors import StartError
from service.settings import Settings
from service.streams.server import GrpcServer

logger = logging.getLogger(__name__)

# A camera or a page that has lost its network is noticed by then.
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
# Of on_tick's ten in a second.
TICKS_PER_LOOK = 10
# For what a second signal cuts off to say so to its client: more than a stream's last words may take.
CUT_OFF_S = 3.0


class Server(uvicorn.Server):
    """uvicorn, with the service and gRPC started before the door opens, and closed after it is shut."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        *,
        grpc: GrpcServer | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(config)
        self._service = service
        self._grpc = grpc
        self._certificate = certificate
        self._closes_at: float | None = None
        self._starting: asyncio.Task[None] | None = None
        self._forced = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until a signal ends it. Raises StartError before the door opens."""
        keep_freed_memory()
        if self._certificate is not None:
            self.config.load()
            assert self.config.ssl is not None
            self._certificate.serve_with(self.config.ssl)
        try:
            with self.capture_signals():
                if await self._start():
                    await super().serve(sockets)
        finally:
            if self._grpc is not None:
                await self._grpc.stop(0)
            await self._service.aclose()
        logger.info("closed")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What uvicorn does, but streams come to their end first, and gRPC closes beside HTTP."""
        until = time.monotonic() + self._service.settings.drain_timeout_s
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        self._service.streams.drain()
        async with asyncio.TaskGroup() as group:
            if self._grpc is not None:
                group.create_task(self._close_grpc(self._grpc, until))
            streaming = asyncio.create_task(self._service.streams.closed())
            await self._unless_forced(streaming, until)
            streaming.cancel()
            # HTTP gets what is left, and the moment at least in which it tells its clients.
            self.config.timeout_graceful_shutdown = max(1, round(until - time.monotonic()))
            await super().shutdown(sockets)
        if self.force_exit:
            await self._cut_off()

    async def _cut_off(self) -> None:
        """Ends what uvicorn leaves to itself when it is forced; the service would wait for its streams."""
        left = tuple(self.server_state.tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CUT_OFF_S)

    async def _close_grpc(self, grpc: GrpcServer, until: float) -> None:
        stopping = asyncio.create_task(grpc.stop(until - time.monotonic()))
        if not await self._unless_forced(stopping, until):
            await grpc.stop(0)

    async def _unless_forced(self, task: asyncio.Task[None], until: float) -> bool:
        """Whether it was done before time was up or a second signal came."""
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait((task, forced), timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        return task.done()

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
        if self._grpc is not None:
            await self._grpc.start()
        return True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one ends at once. Runs between any two steps of what it interrupts."""
        starting = self._starting is not None and not self._starting.done()
        if self._closes_at is not None:
            self.should_exit = self.force_exit = True
            self._wake(self._forced.set)
            if starting:
                signal.signal(sig, signal.SIG_DFL)
                signal.raise_signal(sig)
            return
        self._service.draining = True
        if self._grpc is not None:
            self._wake(self._grpc.look)
        self._closes_at = time.monotonic() + self._service.settings.drain_delay_s
        if self._starting is not None and starting:
            # Wakes the loop, too, which may wait for nothing but a thread that compiles.
            self._starting.get_loop().call_soon_threadsafe(self._starting.cancel)

    def _wake(self, told: Callable[[], None]) -> None:
        """Has the loop do it next, from a signal's handler."""
        with contextlib.suppress(RuntimeError):  # there is none yet, or no more: nobody is to be told
            asyncio.get_running_loop().call_soon_threadsafe(told)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to stop."""
        if self._certificate is not None and counter % TICKS_PER_LOOK == 0:
            self._certificate.follow()
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
    if listening is None:
        _try_address(settings.host, settings.port)
    service = Service(settings)
    certificate = _certificate(settings, service)
    config = uvicorn.Config(
        build_application(service),
        host=settings.host,
        port=settings.port,
        loop="auto",
        http=BoundedProtocol,
        ws=BoundedWebSocket,
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
    grpc = build_grpc(service, certificate) if settings.grpc else None
    Server(config, service, grpc=grpc, certificate=certificate).run(sockets=[listening] if listening else None)


def _try_address(host: str, port: int) -> None:
    """Before the seconds that models take to load, after which uvicorn would say it."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                tried = socket.socket(family, kind, protocol)
            except OSError:  # a family that this host has not, which uvicorn passes over, too
                continue
            with tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # as asyncio does it: beside 0.0.0.0, not instead of it
                    tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                tried.bind(address)
    except OSError as exc:
        raise StartError(f"cannot listen on {host} port {port}: {exc.strerror}") from exc


def _certificate(settings: Settings, service: Service) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_certificate, settings.tls_key, metrics=service.metrics)
