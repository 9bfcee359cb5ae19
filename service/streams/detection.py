"""The two methods of yolov7.v1.Detection: from a call to the detector or a stream of frames, and back.

`Detect` is served as if its client could send several messages, which on the wire is the same: so who calls is known,
and has a place, before the picture is read, as over HTTP.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from service.detector import Detector
from service.detector.options import choose_caching, resolve_options
from service.errors import BodyTooSlow, DeadlineExceeded, MalformedRequest
from service.live import Closing, Outcome, Streams, Wanted
from service.metrics import Metrics
from service.models import Models
from service.streams.call import SERVICE, Call, Calls
from service.streams.context import Context
from service.streams.door import Door
from service.streams.frames import Frames, read_open
from service.streams.messages import (
    read_delivery,
    read_options,
    read_picture,
    write_answer,
    write_opened,
    write_outcome,
)
from service.streams.wire import detection_pb2 as pb


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one call may cost. `timeout_s` is the deadline of one that sets none; `max_timeout_s` caps both.

    `receive_timeout_s` is for a message to arrive, `open_timeout_s` for the first one of a stream.
    """

    max_image_bytes: int
    receive_timeout_s: float
    timeout_s: float
    max_timeout_s: float
    open_timeout_s: float = 10.0


class Detection:
    """The service; `calls` runs its methods."""

    def __init__(
        self,
        detector: Detector,
        models: Models,
        streams: Streams,
        door: Door,
        *,
        calls: Calls,
        limits: CallLimits,
        metrics: Metrics,
    ) -> None:
        self._detector = detector
        self._models = models
        self._streams = streams
        self._door = door
        self._calls = calls
        self._limits = limits
        self._metrics = metrics

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server is given."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Detect": grpc.stream_unary_rpc_method_handler(
                self.detect,
                request_deserializer=pb.DetectRequest.FromString,
                response_serializer=pb.DetectResponse.SerializeToString,
            ),
            "DetectStream": grpc.stream_stream_rpc_method_handler(
                self.detect_stream,
                request_deserializer=pb.StreamRequest.FromString,
                response_serializer=pb.StreamResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def detect(self, _: object, context: Context) -> pb.DetectResponse:
        """One picture."""
        return await self._calls.run(context, "Detect", self._detect)

    async def detect_stream(self, _: object, context: Context) -> None:
        """Frames of one camera."""
        await self._calls.run_stream(context, "DetectStream", self._detect_stream)

    async def _detect(self, call: Call) -> pb.DetectResponse:
        client = self._door.enter(call)
        deadline = call.started_at + self._timeout_s(call)
        caching = choose_caching(call.together("cache-control"))
        await self._door.take(call, client)
        with self._detector.place(deadline) as place:
            request = await self._receive(call, deadline)
            options = read_options(request.options)
            served = self._models.resolve(options.model, options.version)
            chosen = resolve_options(options, served.spec)
            picture = read_picture(request.image, max_bytes=self._limits.max_image_bytes)
            call.receive_s = time.monotonic() - call.started_at
            detected = await self._detector.detect(
                picture, served, options=chosen, deadline=deadline, place=place, caching=caching
            )
            started_at = time.monotonic()
            answer = write_answer(detected, served, call.request_id)
        call.serialise_s = time.monotonic() - started_at
        self._metrics.observe_stages({"receive": call.receive_s, "serialise": call.serialise_s})
        return answer

    def _timeout_s(self, call: Call) -> float:
        left_s: float | None = call.context.time_remaining()
        return min(self._limits.timeout_s if left_s is None else left_s, self._limits.max_timeout_s)

    async def _receive(self, call: Call, deadline: float) -> pb.DetectRequest:
        limit_s = self._limits.receive_timeout_s
        try:
            async with asyncio.timeout(min(deadline - time.monotonic(), limit_s)):
                message = await call.read()
        except TimeoutError:
            if time.monotonic() < deadline:
                raise BodyTooSlow(f"the message did not arrive within {limit_s:g} s") from None
            raise DeadlineExceeded("the deadline passed before the message was read") from None
        if message is grpc.aio.EOF:
            raise MalformedRequest("the call brought no message")
        request: pb.DetectRequest = message
        return request

    async def _detect_stream(self, call: Call) -> None:
        client = self._door.enter(call)
        opening = await read_open(call, timeout_s=self._limits.open_timeout_s)
        options, delivery = read_options(opening.options), read_delivery(opening)

        async def send(outcome: Outcome | Closing) -> None:
            await call.context.write(write_outcome(outcome))

        with self._streams.open(Wanted(options, delivery, client, call.peer, opening.name, "grpc")) as stream:
            await call.context.write(write_opened(stream.served, stream.delivery))
            await stream.run(Frames(call, max_bytes=self._limits.max_image_bytes), send)
