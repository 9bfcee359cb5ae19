"""Load through every door of a gateway, with the troubles that a dashboard is there to show.

HTTP, DeepStack's protocol, gRPC calls and streams, WebSockets; pictures that are new, known, broken or in a hurry;
clients that leave, frames that come too fast or too late, a stream too many. It goes on until it is told to stop, and
does not mind what is answered.
"""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress

import grpc
import grpc.aio
import httpx
from local_prometheus import HOST
from local_stack import Gateway
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

FAILURES = (httpx.HTTPError, grpc.aio.AioRpcError, WebSocketException, OSError, TimeoutError)
# Between two frames of a camera, and from one end of a client to its next start.
FRAME_S, PAUSE_S = 0.1, 0.3


class AllDoors:
    """`jpegs` are what cameras see. `run` ends once `stop` is set. `pace`: how many times the usual load."""

    def __init__(self, gateway: Gateway, jpegs: Sequence[bytes]) -> None:
        self._gateway = gateway
        self._jpegs = jpegs
        self._numbers = itertools.count()
        self._random = random.Random(7)
        self.stop = asyncio.Event()
        self.pace = 1.0

    async def run(self) -> None:
        """All clients at once."""
        clients: list[Callable[[], Awaitable[None]]] = [
            self._posts,
            self._posts,
            self._calls,
            self._troubles,
            self._leavers,
        ]
        clients += [lambda every=every: self._grpc_stream(every) for every in (True, False)]
        clients += [lambda age=age: self._websocket(age) for age in (1000.0, 1.0)]
        clients += [self._one_stream_too_many, self._burst]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(self._again(client))

    async def _again(self, client: Callable[[], Awaitable[None]]) -> None:
        while not self.stop.is_set():
            with suppress(*FAILURES):
                async with asyncio.timeout(10):
                    await client()
            await self._pause(PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds / self.pace):
                await self.stop.wait()

    def _new(self) -> bytes:
        """A picture that nobody has sent before: bytes after its end change nothing but the cache's key."""
        return self._jpegs[next(self._numbers) % len(self._jpegs)] + str(self._random.random()).encode()

    def _http(self) -> httpx.AsyncClient:
        headers = {"Content-Type": "image/jpeg"}
        if self._gateway.key is not None:
            headers["X-API-Key"] = self._gateway.key
        return httpx.AsyncClient(base_url=f"http://{HOST}:{self._gateway.port}", headers=headers, trust_env=False)

    def _grpc(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"{HOST}:{self._gateway.grpc_port}")

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return () if self._gateway.key is None else (("x-api-key", self._gateway.key),)

    async def _posts(self) -> None:
        """Pictures that are new, and again with other thresholds, which the cache answers."""
        async with self._http() as http:
            for _ in range(10):
                picture = self._new()
                for confidence in ("0.25", "0.1", "0.5"):
                    await http.post(f"/v1/detect?confidence={confidence}", content=picture)
                await asyncio.gather(*(http.post("/v1/detect", content=self._jpegs[0] + b"same") for _ in range(2)))
                await self._pause(FRAME_S)

    async def _calls(self) -> None:
        async with self._grpc() as channel:
            for _ in range(10):
                request = pb.DetectRequest(image=pb.Image(encoded=self._new()))
                await DetectionStub(channel).Detect(request, timeout=5, metadata=self._metadata)
                await self._pause(FRAME_S)

    async def _troubles(self) -> None:
        """What clients do wrong, and what cannot be done in time."""
        async with self._http() as http:
            await http.post("/v1/detect", content=self._new()[:200])
            await http.post("/v1/detect?model=none", content=self._new())
            await http.post("/v1/detect", content=self._new(), headers={"X-API-Key": "y7_wrong"})
            await http.post("/v1/detect", content=self._new(), headers={"Cache-Control": "no-store"})
            await http.post("/v1/detect", content=self._new(), headers={"Cache-Control": "no-cache"})
            await http.post("/v1/detect", content=self._new(), headers={"X-Request-Timeout-Ms": "1"})
            form = {"image": ("street.jpg", self._new(), "image/jpeg")}
            await http.get("/v1/models")
            del http.headers["Content-Type"]
            await http.post("/v1/vision/detection", files=form)

    async def _leavers(self) -> None:
        """Clients that do not wait: some leave while their pictures are in the queue."""
        async with self._http() as http:

            async def leave(after_s: float) -> None:
                with suppress(httpx.TimeoutException):
                    await http.post("/v1/detect", content=self._new(), timeout=after_s)

            await asyncio.gather(*(leave(0.005 * (number + 2)) for number in range(6)))

    async def _burst(self) -> None:
        """More at once than there are places."""
        async with self._http() as http:
            answers = (http.post("/v1/detect", content=self._new()) for _ in range(16))
            await asyncio.gather(*answers, return_exceptions=True)
        await self._pause(2.0)

    async def _grpc_stream(self, every: bool) -> None:
        opening = pb.Open(name="door", every=pb.Every(credits=2)) if every else pb.Open(latest=pb.Latest(max_age=0.5))

        async def requests() -> AsyncIterator[pb.StreamRequest]:
            yield pb.StreamRequest(open=opening)
            for sequence in range(30):
                picture = b"torn" if sequence == 5 else self._new()
                yield pb.StreamRequest(frame=pb.Frame(sequence=sequence, image=pb.Image(encoded=picture)))
                # A camera whose frames sometimes come faster than anybody could look at them.
                await self._pause(0.001 if not every and sequence % 3 else FRAME_S)

        async with self._grpc() as channel:
            async for _ in DetectionStub(channel).DetectStream(requests(), metadata=self._metadata):
                pass

    async def _websocket(self, max_age_ms: float) -> None:
        headers = None if self._gateway.key is None else {"X-API-Key": self._gateway.key}
        url = f"ws://{HOST}:{self._gateway.port}/v1/stream"
        async with connect(url, additional_headers=headers, proxy=None, compression=None) as socket:
            await socket.send(json.dumps({"type": "open", "delivery": "latest", "max_age_ms": max_age_ms}))
            await socket.recv()
            for _ in range(20):
                await socket.send(self._new())
                await self._pause(FRAME_S)
            await socket.send('{"type": "end"}')
            async for _ in socket:
                pass

    async def _one_stream_too_many(self) -> None:
        async with self._grpc() as channel:

            async def idle(seconds: float) -> AsyncIterator[pb.StreamRequest]:
                yield pb.StreamRequest(open=pb.Open())
                await self._pause(seconds)

            async def stream() -> None:
                with suppress(grpc.aio.AioRpcError):
                    async for _ in DetectionStub(channel).DetectStream(idle(0.5), metadata=self._metadata):
                        pass

            await asyncio.gather(*(stream() for _ in range(4)))
        await self._pause(2.0)
