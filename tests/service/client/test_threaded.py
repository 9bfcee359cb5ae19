"""Streams of the client for threads, against the real service; and what its threads do between themselves."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.client import (
    Client,
    ConnectionFailed,
    Frame,
    FrameFailed,
    FrameResult,
    FramesDropped,
    RequestRefused,
    Retries,
    ServiceUnavailable,
    TimedOut,
)
from service.client.frames import Opening
from service.client.options import Options
from service.client.threaded import Feed
from service.streams.wire import detection_pb2 as pb


def comes_true(holds: Callable[[], bool]) -> bool:
    """Whether it does within seconds."""
    for _ in range(5000):
        if holds():
            return True
        time.sleep(0.002)
    return False


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "yolov7-frames"]


def count_through(*answers: Any) -> int:
    return sum(answer.count if isinstance(answer, FramesDropped) else 1 for answer in answers)


def test_every_frame_is_answered_in_its_order(client: Client, png: bytes, picture: NDArray[np.uint8]):
    frames = [png, picture, Frame(png, 7, captured_at=5.5), b"no picture", picture]
    answers = list(client.stream(iter(frames), delivery="every", name="door", classes=["red"]))
    assert [answer.sequence for answer in answers] == [0, 1, 7, 8, 9]
    assert answers[2].captured_at == 5.5
    assert isinstance(answers[3], FrameFailed)
    assert answers[3].name == "unsupported-image"
    for answer in (*answers[:3], answers[4]):
        assert answer.detections.labels == ("red",)
        assert answer.detections.boxes.tolist() == [[16, 32, 24, 40]]
        assert (answer.image_hw, answer.model.name) == ((128, 128), "blocks")
        assert answer.age_s > 0
        assert answer.stage_seconds["infer"] > 0


def test_arrays_may_go_as_jpegs(client: Client, picture: NDArray[np.uint8]):
    (answer,) = client.stream([picture], delivery="every", jpeg_quality=90)
    assert answer.detections.labels == ("red", "blue")


def test_of_the_latest_each_has_one_outcome_and_the_last_is_answered(client: Client, png: bytes):
    answers = list(client.stream([png] * 50, max_age_s=20))
    assert count_through(*answers) == 50
    assert isinstance(answers[-1], FrameResult)
    assert answers[-1].sequence == 49


def test_every_holds_the_source_back(make_serving: Callable[..., Any], engine_with_switch: Any, png: bytes):
    serving = make_serving(engine_with_switch, stream_credits=3)
    taken: list[int] = []

    def source() -> Iterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield png

    serving.call(engine_with_switch.gate.clear)
    with Client(serving.url, grpc=serving.grpc) as client:
        answers: list[Any] = []
        caller = threading.Thread(target=lambda: answers.extend(client.stream(source(), delivery="every")))
        caller.start()
        assert comes_true(lambda: len(taken) == 3)
        assert comes_true(lambda: engine_with_switch.batches > 0)
        assert len(taken) == 3
        serving.call(engine_with_switch.gate.set)
        caller.join(20)
    assert [answer.sequence for answer in answers] == list(range(10))


def test_no_frame_queues_behind_a_slow_network():
    # Between two of gRPC's messages: however many frames come, the next one to be sent is the newest.
    feed = Feed(Opening(Options()))
    requests = feed.requests()
    assert next(requests).HasField("open")
    feed.receive(pb.StreamResponse(opened=pb.Opened()))
    feed.read([b"0", b"1", b"2", b"3"])
    assert next(requests).frame.image.encoded == b"3"
    assert list(requests) == []


def test_leaving_early_ends_the_call_and_the_thread(serving: Any, client: Client, png: bytes):
    def endless() -> Iterator[bytes]:
        while True:
            yield png

    stream = client.stream(endless(), delivery="every")
    next(stream)
    assert len(serving.service.streams) == 1
    assert readers()
    stream.close()
    assert not readers()
    assert comes_true(lambda: len(serving.service.streams) == 0)


def test_a_source_that_blocks_is_left_when_it_moves(client: Client, png: bytes):
    moves, closed = threading.Event(), threading.Event()

    def source() -> Iterator[bytes]:
        try:
            yield png
            moves.wait(20)
            yield png
        finally:
            closed.set()

    stream = client.stream(source(), delivery="every")
    next(stream)
    stream.close()
    moves.set()
    assert comes_true(lambda: not readers())
    assert closed.wait(20)


def test_an_error_of_the_source_comes_after_the_answers(client: Client, png: bytes):
    def source() -> Iterator[bytes]:
        yield png
        raise OSError("the cable is out")

    stream = client.stream(source(), delivery="every")
    assert next(stream).sequence == 0
    with pytest.raises(OSError, match="the cable is out"):
        next(stream)


@pytest.mark.parametrize(
    "frames", [[np.zeros((2, 2), np.uint8)], [Frame(b"x", 5), Frame(b"x", 5)], ["no picture at all"]]
)
def test_frames_that_are_none_are_an_error(client: Client, frames: list[Any]):
    with pytest.raises((ValueError, TypeError)):
        list(client.stream(frames, delivery="every"))


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


def test_the_opening_is_tried_again(make_serving: Callable[..., Any], png: bytes):
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


def test_a_service_that_shuts_down_says_when_to_come_back(make_serving: Callable[..., Any], png: bytes):
    serving, ended = make_serving(), threading.Event()

    def source() -> Iterator[bytes]:
        yield png
        ended.wait(20)
        yield png

    with Client(serving.url, grpc=serving.grpc) as client:
        stream = client.stream(source(), delivery="every")
        assert next(stream).sequence == 0
        serving.end()
        with pytest.raises(ServiceUnavailable) as caught:
            next(stream)
        ended.set()
    assert caught.value.retry_after_s == 1.0


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


def test_closing_the_client_ends_its_streams(serving: Any, png: bytes):
    client = Client(serving.url, grpc=serving.grpc)
    stream = client.stream(iter(lambda: png, None), delivery="every")
    next(stream)
    client.close()
    with pytest.raises(ConnectionFailed):
        list(stream)


def test_a_closed_client_says_so_wherever_it_is_asked(serving: Any, png: bytes):
    client = Client(serving.url, grpc=serving.grpc)
    begun = client.stream(iter([png]))
    client.close()
    for ask in (lambda: next(begun), lambda: client.stream(iter([png])), lambda: client.detect(png), client.models):
        with pytest.raises(ConnectionFailed, match="closed"):
            ask()


def test_a_source_that_ends_the_program_ends_the_stream(client: Client, png: bytes):
    def frames() -> Iterator[bytes]:
        yield png
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(client.stream(frames(), delivery="every"))


def test_proxies_of_the_environment_are_not_used(serving: Any, png: bytes, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "grpc_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(serving.url, grpc=serving.grpc, retries=0) as client:
        assert len(client.detect(png).detections) == 2
        assert len(list(client.stream(iter([png]), delivery="every"))) == 1
