"""One call and its end, as both methods see them: an id, a clock, one status, one log line, one count.

What service.api.exchange is to HTTP. It knows no picture and no model; an exception that is no error of the tree is our
bug, and ends the call with INTERNAL, saying nothing but the request id.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio

from service.errors import ClientLeft, DeadlineExceeded, Draining, ImageError, Overloaded, ServiceError
from service.metrics import Metrics
from service.streams.context import Context, EndNotTaken, end, peer_of, read
from service.streams.status import INTERNAL, code_of, describe, describe_bug, name_of
from service.tracing import Trace, Tracer, begin_request, choose_request_id
from service.tracing.trace import Value

logger = logging.getLogger(__name__)

T = TypeVar("T")

SERVICE = "yolov7.v1.Detection"
# A client's deadline passes earlier than ours, by the time that the call took to get here.
TRIP_S = 0.1
# An end waits behind all that was answered, as long as the client does not read.
END_TIMEOUT_S = 10.0
TRACE_CONTEXT = ("traceparent", "tracestate")
# By OpenTelemetry's conventions for servers, the codes that are the server's own failures.
FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


@dataclass(slots=True, eq=False)
class Call:
    """`client` is the name of the key; `code` and `error` are what it ended with, `receive_s` what its message took."""

    context: Context
    method: str
    metadata: dict[str, list[str]]
    request_id: str
    started_at: float = field(default_factory=time.monotonic)
    client: str | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: str | None = None
    receive_s: float | None = None
    serialise_s: float | None = None

    @classmethod
    def of(cls, context: Context, method: str) -> "Call":
        """The call that has just begun."""
        metadata: dict[str, list[str]] = {}
        for key, value in context.invocation_metadata() or ():
            if isinstance(value, str):
                metadata.setdefault(key.lower(), []).append(value)
        return cls(context, method, metadata, choose_request_id(metadata.get("x-request-id", [""])[0]))

    @property
    def route(self) -> str:
        """The method as HTTP/2 has it."""
        return f"/{SERVICE}/{self.method}"

    @property
    def peer(self) -> str:
        """The caller's address, without its port."""
        return peer_of(self.context)

    def first(self, name: str) -> str | None:
        """A metadata field; of several the first."""
        return self.metadata.get(name, [None])[0]

    def together(self, name: str) -> str:
        """A metadata field, all its values in one list."""
        return ",".join(self.metadata.get(name, ()))

    async def read(self) -> Any:
        """See context.read."""
        return await read(self.context)


class Calls:
    """Runs the calls of one server, `most` at once, each to its one end, and ends them all when the server closes.

    `end_timeout_s`: for a client to take the error that ends its call.
    """

    def __init__(
        self, most: int, *, metrics: Metrics, tracer: Tracer | None = None, end_timeout_s: float = END_TIMEOUT_S
    ) -> None:
        self.most = most
        self.end_timeout_s = end_timeout_s
        self._metrics = metrics
        self._tracer = tracer
        self._running: dict[Call, asyncio.Task[Any]] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._cut_off = False

    async def run(self, context: Context, method: str, work: Callable[[Call], Awaitable[T]]) -> T:
        """The answer of `work` to one request, which is traced; whatever it raises becomes a status."""
        return await self._run(Call.of(context, method), work, lasting=False)

    async def run_stream(self, context: Context, method: str, work: Callable[[Call], Awaitable[None]]) -> None:
        """The same for a call that may go on for days: it counts when it ends, and its duration is none of a request.

        It is not traced: what is noted of each frame would be kept until the end.
        """
        await self._run(Call.of(context, method), work, lasting=True)

    async def idle(self) -> None:
        """Waits until no call is running and all answers have left."""
        await self._idle.wait()

    def cut_off(self) -> None:
        """Ends what is still running: the client is told to come back."""
        self._cut_off = True
        for task in self._running.values():
            task.cancel()

    async def _run(self, call: Call, work: Callable[[Call], Awaitable[T]], *, lasting: bool) -> T:
        begin_request(call.request_id)
        call.context.set_trailing_metadata((("x-request-id", call.request_id),))
        try:
            with self._traced(call, lasting=lasting) as trace:
                try:
                    self._enter(call)
                    return await work(call)
                except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 - each becomes a status or is logged
                    status = self._status(call, exc)
                finally:
                    if trace is not None:
                        _conclude(trace, call)
        finally:
            self._record(call, lasting=lasting)
        if status is None:
            raise asyncio.CancelledError
        try:
            # Only now: it may take its time.
            await end(call.context, status, timeout_s=self.end_timeout_s)
        except EndNotTaken:
            self._metrics.errors.labels("end-not-taken").inc()
            logger.warning("%s of %s: its end was not taken within %g s", call.route, call.peer, self.end_timeout_s)
            raise asyncio.CancelledError from None

    def _status(self, call: Call, exc: BaseException) -> grpc.Status | None:
        """What ends the call; None where nobody waits for it any more: the client left, or its deadline has passed."""
        left_s: float | None = call.context.time_remaining()
        match exc:
            case ServiceError() | ImageError():
                error: ServiceError | ImageError = exc
            case asyncio.CancelledError() if self._cut_off:
                current = asyncio.current_task()
                assert current is not None
                current.uncancel()
                error = Draining("the service shut down before the answer was ready")
            case asyncio.CancelledError() if left_s is not None and left_s <= TRIP_S:
                error = DeadlineExceeded("the deadline passed")
            # BaseError is what the library raises where the connection ended under a read or a write.
            case asyncio.CancelledError() | grpc.aio.BaseError():
                error = ClientLeft("the client left before its answer was ready")
            case _:
                logger.error("a call failed by a bug of ours", exc_info=exc)
                call.code, call.error = grpc.StatusCode.INTERNAL, INTERNAL
                return describe_bug(call.request_id)
        call.code, call.error = code_of(error), name_of(error)
        waits = isinstance(exc, ServiceError | ImageError) or self._cut_off
        return describe(error, call.request_id) if waits else None

    def _enter(self, call: Call) -> None:
        if len(self._running) >= self.most:
            self._metrics.rejected.labels("calls").inc()
            raise Overloaded(f"{len(self._running)} calls are running already")
        current = asyncio.current_task()
        assert current is not None
        self._running[call] = current
        self._idle.clear()
        # The task goes on after us: it sends what we answer.
        call.context.add_done_callback(lambda _: self._leave(call))  # type: ignore[arg-type]  # a wrong stub

    def _leave(self, call: Call) -> None:
        del self._running[call]
        if not self._running:
            self._idle.set()

    def _traced(self, call: Call, *, lasting: bool) -> AbstractContextManager[Trace | None]:
        if self._tracer is None or lasting:
            return nullcontext()
        given: dict[str, str] = {name: call.together(name) for name in TRACE_CONTEXT if name in call.metadata}
        attributes: dict[str, Value] = {"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": call.method}
        return self._tracer.request(call.route[1:], given, attributes)

    def _record(self, call: Call, *, lasting: bool) -> None:
        seconds = time.monotonic() - call.started_at
        code = call.code.name
        self._metrics.requests.labels("grpc", call.route, code).inc()
        if not lasting:
            self._metrics.request_duration.labels("grpc", call.route).observe(seconds)
        if call.error is not None:
            self._metrics.errors.labels(call.error).inc()
        told = {"status": code, "duration_ms": round(seconds * 1000, 1), "error": call.error, "key": call.client}
        line = (call.route, code, seconds * 1000, call.error or "-")
        logger.info("%s %s %.1fms %s", *line, extra=told)


def _conclude(trace: Trace, call: Call) -> None:
    trace.note({"request_id": call.request_id})
    trace.attributes["rpc.grpc.status_code"] = call.code.value[0]
    trace.error, trace.failed = call.error, call.code.name in FAILURES
    if call.receive_s is not None:
        trace.stage("receive", call.started_at, call.started_at + call.receive_s)
    if call.serialise_s is not None:
        started_at = max(stage.ended_at for stage in trace.stages)
        trace.stage("serialise", started_at, started_at + call.serialise_s)
