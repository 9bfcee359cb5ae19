"""Streams of the client for threads, against the real service; and what its threads do between themselves."""

import threading
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
    ServiceUnavailable,
)
from service.client.frames import Opening
from service.client.options import Options
from service.client.threaded import Feed
from service.streams.wire import detection_pb2 as pb


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


def test_every_holds_the_source_back(
    make_serving: Callable[..., Any], engine_with_switch: Any, png: bytes, comes_true: Any
):
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
        assert comes_true(lambda: len(taken) == 3 and engine_with_switch.batches > 0)
        # While other questions come and go, this stream has every chance to read on.
        assert [len(client.models()) for _ in range(30)] == [1] * 30
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


def test_leaving_early_ends_the_call_and_the_thread(
    serving: Any, client: Client, png: bytes, comes_true: Any, readers: Any
):
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


@pytest.mark.parametrize(
    "frames", [[np.zeros((2, 2), np.uint8)], [Frame(b"x", 5), Frame(b"x", 5)], ["no picture at all"]]
)
def test_frames_that_are_none_are_an_error(client: Client, frames: list[Any]):
    with pytest.raises((ValueError, TypeError)):
        list(client.stream(frames, delivery="every"))


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


def test_proxies_of_the_environment_are_not_used(serving: Any, png: bytes, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "grpc_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(serving.url, grpc=serving.grpc, retries=0) as client:
        assert len(client.detect(png).detections) == 2
        assert len(list(client.stream(iter([png]), delivery="every"))) == 1
