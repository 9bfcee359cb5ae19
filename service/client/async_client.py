"""The client for an event loop. What Client says holds here; only what differs is said again."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx
from grpc.aio import Channel

from service.client import web
from service.client.address import Address
from service.client.errors import CLOSED, ClientError, ConnectionFailed, TimedOut
from service.client.frames import Delivery, Opening
from service.client.looped import AsyncFrames, AsyncLine, stream_frames
from service.client.options import DetectOptions, Options
from service.client.picture import Picture, read_picture
from service.client.results import Model, Outcome, Result
from service.client.retry import Retries
from service.client.rpc import credentials, open_async_channel
from service.streams.wire.detection_pb2_grpc import DetectionStub

T = TypeVar("T")


class AsyncClient:
    """A service at `url`, with the arguments of Client. Belongs to one event loop; `aclose` it, or use `async with`."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retries: Retries | int = 3,
        ca: str | Path | None = None,
        grpc: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._address = Address.of(url, grpc=grpc, ca=ca)
        self._key = key
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._retries = retries if isinstance(retries, Retries) else Retries(retries)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=url, headers=web.authorisation(key), verify=self._address.trust(), trust_env=False
        )
        # Opened by the first stream: it belongs to the event loop of that.
        self._channel: Channel | None = None
        self._closed = False

    async def detect(
        self, picture: Picture, *, timeout_s: float | None = None, **options: Unpack[DetectOptions]
    ) -> Result:
        """As Client.detect; the file is read, or the array encoded, in a thread."""
        request = web.detect(await asyncio.to_thread(read_picture, picture), Options(**options))
        return await self._ask(request, web.read_result, timeout_s)

    async def models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """As Client.models."""
        return await self._ask(web.MODELS, web.read_models, timeout_s)

    def stream(
        self,
        frames: AsyncFrames,
        *,
        delivery: Delivery = "latest",
        max_age_s: float | None = None,
        credits: int | None = None,  # noqa: A002 - the protocol's name
        name: str = "",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> AsyncGenerator[Outcome, None]:
        """Streams an async iterator of frames to one of what became of each, in their order. Arguments: Client.stream.

        The frames are read by a task of its own, from when the stream has opened, and closed by it, where they are a
        generator, however the stream ends; what takes longer than some seconds is cancelled. An error that they raise
        is raised here, after the answers that were still to come; one of their closing is logged. Who leaves early
        closes the generator of the answers, as contextlib.aclosing does: that ends the call, and cancels the wait for
        the next frame.
        Raises a ClientError, also where the connection is lost: what was sent and not answered then is not known.
        """
        opening = Opening(Options(**options), delivery, max_age_s, credits, name, jpeg_quality)
        line = AsyncLine(self._open_stub(), credentials(self._key), self._retries, self._limit(timeout_s), self._sleep)
        return stream_frames(line, frames, opening)

    async def aclose(self) -> None:
        """Closes all connections; streams that are still open end with a ClientError."""
        self._closed = True
        channel, self._channel = self._channel, None
        try:
            await self._http.aclose()
        finally:
            if channel is not None:
                await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _limit(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    async def _ask(self, request: web.Request, read: Callable[[httpx.Response], T], timeout_s: float | None) -> T:
        """Sends a request until it is answered, and reads the answer. It changes nothing, so it may go twice."""
        attempts = self._retries.within(self._limit(timeout_s))
        while True:
            if self._closed:
                raise ConnectionFailed(CLOSED)
            left_s = attempts.left_s()
            built = request.build(self._http, left_s, connect_timeout_s=self._connect_timeout_s)
            try:
                return read(await self._send(built, left_s))
            except ClientError as error:
                await self._sleep(attempts.pause_s(error))

    async def _send(self, request: httpx.Request, left_s: float) -> httpx.Response:
        try:
            async with asyncio.timeout(left_s):
                return await self._http.send(request)
        except TimeoutError:
            raise TimedOut("no answer in time") from None
        except httpx.RequestError as exc:
            raise web.transport_error(exc, request) from exc

    def _open_stub(self) -> DetectionStub:
        if self._closed:
            raise ConnectionFailed(CLOSED)
        if self._channel is None:
            self._channel = open_async_channel(self._address, connect_timeout_s=self._connect_timeout_s)
        return DetectionStub(self._channel)  # type: ignore[no-untyped-call] # generated
