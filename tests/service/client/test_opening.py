"""The opening of a stream with threads: refused, late, tried again; and that what fails on the way leaves nothing."""

import socket
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from service.client import Client, ConnectionFailed, RequestRefused, Retries, TimedOut
from service.client.frames import Opening
from service.client.options import Options
from service.client.threaded import Line, Patience, stream_frames
from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub


def test_a_refusal_comes_before_any_frame_is_read(client: Client, png: bytes):
    frames = iter([png])
    with pytest.raises(RequestRefused) as caught:
        list(client.stream(frames, confidence=7))
    problem = caught.value.problem
    assert (problem.status, problem.name) == (422, "invalid-option")
    assert problem.findings[0].pointer == "/confidence"
    assert next(frames) == png


def test_a_delivery_that_is_none_is_refused_at_once(client: Client):
    with pytest.raises(ValueError, match="sometimes"):
        client.stream([], delivery="sometimes")


def test_the_opening_is_tried_again(make_serving: Callable[..., Any], png: bytes, comes_true: Any):
    serving = make_serving(max_streams=1)
    with Client(serving.url, grpc=serving.grpc) as first:
        held = first.stream(iter(lambda: png, None), delivery="every")
        next(held)
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            held.close()
            assert comes_true(lambda: len(serving.service.streams) == 0)

        with Client(serving.url, grpc=serving.grpc, retries=Retries(draw=lambda: 0.0), sleep=sleep) as second:
            assert len(list(second.stream([png], delivery="every"))) == 1
    assert slept == [1.0]


def test_nobody_there_is_a_connection_that_failed(png: bytes):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    slept: list[float] = []
    client = Client("http://127.0.0.1:1", grpc=f"127.0.0.1:{port}", sleep=slept.append)
    with client, pytest.raises(ConnectionFailed):
        next(client.stream([png]))
    assert len(slept) == 3


def test_a_server_that_is_silent_times_out(png: bytes):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Client("http://127.0.0.1:1", grpc=f"127.0.0.1:{silent.getsockname()[1]}")
        with client, pytest.raises(TimedOut):
            next(client.stream([png], timeout_s=0.2))


class Call:
    """As much of a call of gRPC as a patience needs."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


def test_a_timer_that_fires_as_the_stream_opens_leaves_it_alone():
    call = Call()
    patience = Patience(call)
    assert not patience.ended()
    patience.end()
    assert not patience.ended()
    assert not call.cancelled.is_set()


class LateCall(Call):
    """One whose answer is there at the very moment in which it is cancelled."""

    def __next__(self) -> pb.StreamResponse:
        assert self.cancelled.wait(20)
        return pb.StreamResponse(opened=pb.Opened(credits=1))


class LateStub:
    def DetectStream(self, requests: Any, metadata: Any) -> LateCall:
        return LateCall()


def test_an_answer_that_comes_as_time_is_up_opens_no_stream_that_is_cancelled():
    line = Line(LateStub(), (), Retries(0), 0.05, lambda _: None)
    with pytest.raises(TimedOut):
        next(stream_frames(line, [b""], Opening(Options())))


class CrampedCall:
    """A real call; once it is open the process has no room for one more thread."""

    def __init__(self, call: Any) -> None:
        self.cancel = call.cancel
        self._call = call

    def __next__(self) -> Any:
        response = next(self._call)
        threading.stack_size(1 << 47)
        return response


class CrampedStub:
    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = DetectionStub(channel)

    def DetectStream(self, requests: Any, metadata: Any) -> CrampedCall:
        return CrampedCall(self._stub.DetectStream(requests, metadata=metadata))


def test_a_thread_that_cannot_start_leaves_no_stream_open(serving: Any, png: bytes, comes_true: Any):
    with grpc.insecure_channel(serving.grpc) as channel:
        line = Line(CrampedStub(channel), (), Retries(0), 20, lambda _: None)
        try:
            with pytest.raises(RuntimeError, match="thread"):
                next(stream_frames(line, [png], Opening(Options())))
        finally:
            threading.stack_size(0)
        assert comes_true(lambda: len(serving.service.streams) == 0)
