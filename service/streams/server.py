"""The gRPC server: what it listens on, the limits of its connections, and its end.

It is given what it serves and says by itself only whether it is healthy.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import grpc.aio

from service.errors import StartError
from service.metrics import Metrics
from service.streams.call import SERVICE, Calls
from service.streams.detection import Detection
from service.streams.health import HEALTH_SERVICE, Health
from service.streams.reflection import Reflection

logger = logging.getLogger(__name__)

# How long a change of readiness may go unnoticed.
LOOK_INTERVAL_S = 1.0
# What stays open beside calls of ours, such as somebody who reads reflection, has so long at the end.
LAST_S = 1.0
# The library also counts calls that are being refused, and ends that their clients do not take. What is beyond its
# bound it refuses by itself, with RESOURCE_EXHAUSTED, so that ours come before it.
REFUSED_CALLS = 512
CONNECTIONS = 2048
CALLS_PER_CONNECTION = 256
# Of a message, beside its picture.
OTHER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`shares_port`: with other processes of ours. Port 0 takes a free one."""

    host: str
    port: int
    reflection: bool
    max_image_bytes: int
    shares_port: bool = False


class GrpcServer:
    """`credentials`: for TLS; plain text where None. `serving`: whether calls would be answered, asked each second."""

    def __init__(
        self,
        detection: Detection,
        calls: Calls,
        *,
        options: ServerOptions,
        credentials: grpc.ServerCredentials | None,
        serving: Callable[[], bool],
        metrics: Metrics,
    ) -> None:
        self._detection = detection
        self._calls = calls
        self._options = options
        self._credentials = credentials
        self._serving = serving
        self._metrics = metrics
        self._health = Health(("", SERVICE), metrics=metrics)
        self._reflection = Reflection((SERVICE, HEALTH_SERVICE), metrics=metrics)
        self._look = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._server: grpc.aio.Server | None = None
        self.port = options.port

    async def start(self) -> None:
        """Listens from now on; `port` is then the real one. Raises StartError where it is taken."""
        options = self._options
        if not options.shares_port:
            check_free(options.host, options.port)
        server = self._library_server()
        address = f"[{options.host}]:{options.port}" if ":" in options.host else f"{options.host}:{options.port}"
        try:
            if self._credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self._credentials)
        except RuntimeError as exc:
            raise StartError(f"cannot listen on {options.host} port {options.port} for gRPC") from exc
        self._health.set(serving=self._is_serving())
        await server.start()
        self._server = server
        self._looking = asyncio.create_task(self._follow())
        secured = "" if self._credentials is None else " over TLS"
        logger.info("gRPC running on %s:%d%s", address.rpartition(":")[0], self.port, secured)

    def look(self) -> None:
        """Readiness may have changed: health is brought up to date as soon as the loop gets to it."""
        self._look.set()

    async def stop(self, timeout_s: float) -> None:
        """Takes no call any more, finishes those that it has within the time given, and closes.

        Called again it may be given less time. Streams are another's to end: they last as long as they like.
        """
        server = self._server
        if server is None:
            return
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        self._health.end()
        stopping = asyncio.create_task(server.stop(max(timeout_s, 0) + 2 * LAST_S))
        if not await self._finished(timeout_s):
            self._calls.cut_off()
            await self._finished(LAST_S)
        await server.stop(LAST_S)
        await stopping
        self._server = None

    def _library_server(self) -> grpc.aio.Server:
        guests = [self._health.checks, self._health.watchers, self._reflection.readers]
        most = self._calls.most + sum(places.most for places in guests) + REFUSED_CALLS
        server = grpc.aio.server(options=_channel_options(self._options), maximum_concurrent_rpcs=most)
        server.add_generic_rpc_handlers((self._detection.handler(), self._health.handler()))
        if self._options.reflection:
            server.add_generic_rpc_handlers((self._reflection.handler(),))
        return server

    async def _finished(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._calls.idle()
        except TimeoutError:
            return False
        return True

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL_S):
                    await self._look.wait()
            self._look.clear()
            self._health.set(serving=self._is_serving())

    def _is_serving(self) -> bool:
        try:
            return self._serving()
        except Exception:  # who balances load by this must not go on with what it said last
            self._metrics.errors.labels("health").inc()
            logger.exception("readiness cannot be told, so gRPC's health is NOT_SERVING")
            return False


def reserve_port(host: str, port: int) -> socket.socket:
    """A port, 0 for a free one, that nobody has. It is ours to share while the socket is open.

    Raises StartError. Another service that is about to share the same port listens only when its models are loaded, so
    it is found out by its own such socket.
    """
    check_free(host, port)
    # Without SO_REUSEADDR: two sockets that both have it may have the same port until one of them listens.
    return _bind(host, port, socket.SO_REUSEPORT)


def check_free(host: str, port: int) -> None:
    """Raises StartError where somebody has a port already: gRPC itself would say so in ten lines."""
    # What is left of connections that have ended takes no port.
    _bind(host, port, socket.SO_REUSEADDR).close()


def _bind(host: str, port: int, reuse: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, reuse, 1)
        bound.bind((host, port))
    except OSError as exc:
        bound.close()
        raise StartError(f"cannot listen on {host} port {port} for gRPC: {exc.strerror}") from exc
    return bound


def _channel_options(options: ServerOptions) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(options.shares_port)),
        ("grpc.max_receive_message_length", options.max_image_bytes + OTHER_BYTES),
        ("grpc.max_concurrent_streams", CALLS_PER_CONNECTION),
        ("grpc.max_allowed_incoming_connections", CONNECTIONS),
        # A camera that has lost its network is noticed by then.
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # For TLS and the first frames of HTTP/2.
        ("grpc.server_handshake_timeout_ms", 10_000),
    ]
