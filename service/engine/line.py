"""The connection to one Triton server: whether it answers, and what ends calls once it does not."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from service.engine.triton_errors import EngineSilent, ModelDead, meaning
from service.errors import DeadlineExceeded, EngineDown, EngineFailed
from service.metrics import Metrics

logger = logging.getLogger(__name__)

# A small question to a server that is well takes a millisecond; a busy CPU must not look like a dead one.
ASK_S = 2.0
CHANNEL = [
    # As large as gRPC knows; how large a batch may be is the model's business.
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # Finds a cable that was pulled. More often than this a server takes pings for an attack.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC's own would wait up to two minutes before it tries a server again that was away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class Line:
    """`open` comes first, in the running loop; `aclose` last. `suspicion` is set when something looked wrong."""

    def __init__(self, url: str, metrics: Metrics) -> None:
        self.url = url
        self.up = False
        self.suspicion = asyncio.Event()
        self.client: Any = None
        self._metrics = metrics
        self._cuts: set[asyncio.Timeout] = set()

    def open(self) -> None:
        """Opens the channel, which connects and reconnects by itself."""
        self.client = aio.InferenceServerClient(self.url, channel_args=CHANNEL)
        self._metrics.endpoint_up.labels(self.url).set(0)

    async def aclose(self) -> None:
        """Breaks off what is still under way."""
        if self.client is not None:
            await self.client.close()

    async def is_alive(self) -> bool:
        """Asks. Raises EngineFailed.

        One that was well is asked twice: where this process itself stood still, the first answer comes too late.
        """
        if self.up:
            with suppress(EngineFailed):
                return await self._ask_alive()
        return await self._ask_alive()

    async def _ask_alive(self) -> bool:
        with self.asking("a probe"):
            return bool(await self.client.is_server_live(client_timeout=ASK_S))

    def mark(self, *, up: bool) -> None:
        """Notes whether it answers, and says so when it no longer does."""
        if self.up and not up:
            logger.error("%s does not answer", self.url)
        self.up = up
        self._metrics.endpoint_up.labels(self.url).set(up)

    def call_back(self) -> None:
        """Ends what it was given: a server that hangs keeps its connections, and would hold all until the deadline."""
        for cut in self._cuts:
            cut.reschedule(asyncio.get_running_loop().time())
        self._cuts.clear()

    @asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """For calls that have a request's deadline: ended before it, by EngineDown, once the server does not answer."""
        if not self.up:
            raise EngineDown("the engine cannot be reached")
        try:
            async with asyncio.timeout(None) as cut:
                self._cuts.add(cut)
                try:
                    yield
                finally:
                    self._cuts.discard(cut)
        except TimeoutError as exc:
            raise EngineDown("the engine does not answer") from exc

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """For questions that have no deadline of a request: silence is the server's failure, not lateness."""
        try:
            with self.translated(what):
                yield
        except DeadlineExceeded as exc:
            self.suspicion.set()
            raise EngineSilent(f"the engine does not answer: {what}") from exc

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turns the errors of tritonclient into the service's own."""
        try:
            yield
        except InferenceServerException as exc:
            status, text = str(exc.status()).removeprefix("StatusCode."), str(exc.message())
            error = meaning(status, text)
            if type(error) is EngineFailed or isinstance(error, ModelDead):
                # Said here, because those who wait are told nothing internal.
                logger.error("%s: %s failed: %s %s", self.url, doing, status, text.partition("\n")[0])
            if isinstance(error, EngineDown):
                self.mark(up=False)
            raise error from exc
