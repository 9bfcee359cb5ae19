"""What is noted of one traced request while it is worked on: its stages, and a few words. Plain values, no spans yet.

A request is found in two ways. Its own tasks have it in their context (`current_trace`). A batch has not: its task was
started by whichever request happened to complete it, or by the end of another batch. There the payloads tell: each
trace says which one it waits with.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

Value = str | bool | int | float

PREFIX = "yolov7."

_trace: ContextVar["Trace | None"] = ContextVar("trace", default=None)
_traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)


@dataclass(frozen=True, slots=True)
class Stage:
    """Moments are readings of time.monotonic(). `link`: the request that this one only waited for."""

    name: str
    started_at: float
    ended_at: float
    link: "Trace | None" = None


@dataclass(slots=True)
class _Wait:
    """The payload is kept, so that its identity remains its own. `queued_at` is None once a batch has begun."""

    payload: object
    queued_at: float | None


@dataclass(slots=True, eq=False)
class Trace:
    """One request that is traced. `span` is its own, which only service.tracing.spans looks into.

    epoch_ns: wall-clock nanoseconds at zero of the monotonic clock; taken once, so that all moments agree.
    waiting: all traces, by the identity of what they wait with. attributes: by OpenTelemetry's names.
    error: the name of what went wrong; it is the service's failure where `failed`.
    """

    span: object
    name: str
    epoch_ns: int
    waiting: dict[int, "Trace"]
    attributes: dict[str, Value] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    error: str | None = None
    failed: bool = False
    _waits: dict[int, _Wait] = field(default_factory=dict)
    _ended: bool = False

    def at_ns(self, moment: float) -> int:
        """A reading of time.monotonic() as nanoseconds since 1970."""
        return self.epoch_ns + int(moment * 1e9)

    def note(self, attributes: Mapping[str, Value]) -> None:
        """Attributes that OpenTelemetry has no names for: they get our prefix."""
        for name, value in attributes.items():
            self.attributes[PREFIX + name] = value

    def stage(self, name: str, started_at: float, ended_at: float, *, link: "Trace | None" = None) -> None:
        """Notes a stage that is over."""
        self.stages.append(Stage(name, started_at, ended_at, link))

    def stages_until(self, ended_at: float, seconds: Mapping[str, float]) -> None:
        """Notes stages that followed one another, of which only the durations are known and when the last one ended."""
        started_at = ended_at - sum(seconds.values())
        for name, duration in seconds.items():
            self.stage(name, started_at, started_at + duration)
            started_at += duration

    def waits_with(self, payload: object) -> None:
        """A payload of its is in the queue from now on."""
        # Others may go on with what a request began that has been answered meanwhile.
        if not self._ended:
            self._waits[id(payload)] = _Wait(payload, time.monotonic())
            self.waiting[id(payload)] = self

    def batched(self, payload: object, moment: float) -> None:
        """The queue is over, if it was not before: a batch that failed is run again one by one."""
        wait = self._waits[id(payload)]
        if wait.queued_at is not None:
            self.stage("queue", wait.queued_at, moment)
            wait.queued_at = None

    def leaves(self, payload: object) -> None:
        """No batch will be for this payload any more."""
        self._waits.pop(id(payload), None)
        self.waiting.pop(id(payload), None)

    def end(self, moment: float) -> None:
        """Nobody waits any more, though a batch may be under way."""
        for wait in list(self._waits.values()):
            self.batched(wait.payload, moment)
            self.leaves(wait.payload)
        self._ended = True


def current_trace() -> Trace | None:
    """The trace of the request that is being worked on; None outside of any, and where it is not traced."""
    return _trace.get()


def current_traceparent() -> str | None:
    """What a call to the engine carries as W3C `traceparent`; None outside of a batch, and where none is traced.

    It names the inference of the first traced request of the batch, whoever started the batch's task.
    """
    return _traceparent.get()


@contextmanager
def belonging_to(trace: Trace) -> Iterator[None]:
    """Within, in this task and those it starts, the work belongs to this request."""
    token = _trace.set(trace)
    try:
        yield
    finally:
        _trace.reset(token)


@contextmanager
def calling_with(traceparent: str | None) -> Iterator[None]:
    """Within, in this task and those it starts, calls carry this, instead of what they were started with."""
    token = _traceparent.set(traceparent)
    try:
        yield
    finally:
        _traceparent.reset(token)
