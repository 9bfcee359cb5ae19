"""The client for threads: what service.client.web and the stream decide, done with httpx and gRPC."""

import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx
from grpc import Channel

from service.client import web
from service.client.address import Address
from service.client.errors import CLOSED, ClientError, ConnectionFailed
from service.client.frames import Delivery, Frame, Opening
from service.client.options import DetectOptions, Options
from service.client.picture import Picture, Pixels, read_picture
from service.client.results import Model, Outcome, Result
from service.client.retry import Retries
from service.client.rpc import credentials, open_channel
from service.client.threaded import Line, stream_frames
from service.streams.wire.detection_pb2_grpc import DetectionStub

T = TypeVar("T")


class Client:
    """A service at `url`, such as http://127.0.0.1:8000. Usable from several threads; `close` it, or use `with`.

    key: an API key. timeout_s: the deadline of a call that sets none, with all its tries; TimedOut once it passes.
    connect_timeout_s: of one connection; where it passes before the deadline, the try ends as ConnectionFailed.
    ca: a PEM file of the authority that the service's certificate is from, where that is not a public one.
    grpc: host:port of the gRPC server that streams go to; by default the URL's host and port 50051.
    sleep: how to wait between tries.

    Proxies that the environment names are not used, and there is no way to trust any certificate at all: either would
    give the key away. Raises ValueError for what is no URL, no key or no certificate.
    """

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
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = Address.of(url, grpc=grpc, ca=ca)
        self._key = key
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._retries = retries if isinstance(retries, Retries) else Retries(retries)
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=url, headers=web.authorisation(key), verify=self._address.trust(), trust_env=False
        )
        # Opened by the first stream: who detects only needs no gRPC.
        self._channel: Channel | None = None
        self._opening = threading.Lock()
        self._closed = False

    def detect(self, picture: Picture, *, timeout_s: float | None = None, **options: Unpack[DetectOptions]) -> Result:
        """What is in a picture: a path, the bytes of a file, or (H, W, 3) uint8 RGB, which goes as JPEG of quality 95.

        Raises a ClientError, OSError for a path that cannot be read, ValueError for an array of another shape.
        """
        request = web.detect(read_picture(picture), Options(**options))
        return self._ask(request, web.read_result, timeout_s)

    def models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Every model that is served, each loaded version of it. Raises a ClientError."""
        return self._ask(web.MODELS, web.read_models, timeout_s)

    def stream(
        self,
        frames: Iterable[bytes | Pixels | Frame],
        *,
        delivery: Delivery = "latest",
        max_age_s: float | None = None,
        credits: int | None = None,  # noqa: A002 - the protocol's name
        name: str = "",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> Generator[Outcome, None, None]:
        """Streams an iterator of frames to an iterator of what became of each, in their order.

        delivery: `latest` for what is watched now: the newest frame wins, and what `max_age_s` passes before it is
            answered is dropped. `every` for what must all be seen: the frames are read as fast as they are answered.
        credits: with `every`, how many frames may be unanswered; the service gives no more than its own limit.
        name: what the service's log calls the stream.
        jpeg_quality: arrays go as JPEGs of this quality, instead of bare, which is fast but large.
        timeout_s: for the opening; the stream itself lasts as long as its frames do.

        The frames are read in a thread of their own, from when the stream has opened, and closed by it, where they
        are a generator, however the stream ends. An error that they raise is raised here, after the answers that were
        still to come; one of their closing is logged. Closing the generator early ends the call and that thread;
        one whose source blocks ends when that gives its next frame.
        Raises a ClientError, also where the connection is lost: what was sent and not answered then is not known.
        """
        opening = Opening(Options(**options), delivery, max_age_s, credits, name, jpeg_quality)
        line = Line(self._open_stub(), credentials(self._key), self._retries, self._limit(timeout_s), self._sleep)
        return stream_frames(line, frames, opening)

    def close(self) -> None:
        """Closes all connections; streams that are still open end with a ClientError."""
        self._closed = True
        self._http.close()
        with self._opening:
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _limit(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s

    def _ask(self, request: web.Request, read: Callable[[httpx.Response], T], timeout_s: float | None) -> T:
        """Sends a request until it is answered, and reads the answer. It changes nothing, so it may go twice."""
        attempts = self._retries.within(self._limit(timeout_s))
        while True:
            if self._closed:
                raise ConnectionFailed(CLOSED)
            built = request.build(self._http, attempts.left_s(), connect_timeout_s=self._connect_timeout_s)
            try:
                return read(self._send(built))
            except ClientError as error:
                self._sleep(attempts.pause_s(error))

    def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._http.send(request)
        except httpx.RequestError as exc:
            raise web.transport_error(exc, request) from exc
        except RuntimeError as exc:  # so httpx says that it was closed meanwhile
            if not self._closed:
                raise
            raise ConnectionFailed(CLOSED) from exc

    def _open_stub(self) -> DetectionStub:
        # Made here, not where the stream begins: of a channel that was closed meanwhile gRPC makes no stub but a crash.
        with self._opening:
            if self._closed:
                raise ConnectionFailed(CLOSED)
            if self._channel is None:
                self._channel = open_channel(self._address, connect_timeout_s=self._connect_timeout_s)
            return DetectionStub(self._channel)  # type: ignore[no-untyped-call] # generated
