"""gRPC in the life cycle of a real process: where it listens, and how its calls and streams end with it."""

import itertools
import queue
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

Running = Any
Start = Callable[..., Running]


@pytest.fixture
def connect() -> Iterator[Callable[[Running], grpc.Channel]]:
    """A channel to a server's gRPC."""
    channels: list[grpc.Channel] = []

    def connect(server: Running) -> grpc.Channel:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        channels.append(grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=options))
        return channels[-1]

    yield connect
    for channel in channels:
        channel.close()


class Camera:
    """A stream of every frame, which is open once it is made."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._sent: queue.SimpleQueue[pb.StreamRequest | None] = queue.SimpleQueue()
        self._sequence = itertools.count()
        self.answers = DetectionStub(channel).DetectStream(iter(self._sent.get, None), timeout=60)
        self._sent.put(pb.StreamRequest(open=pb.Open(every=pb.Every())))
        assert next(self.answers).HasField("opened")

    def send(self, data: bytes) -> None:
        frame = pb.Frame(sequence=next(self._sequence), image=pb.Image(encoded=data))
        self._sent.put(pb.StreamRequest(frame=frame))

    def close(self) -> None:
        self._sent.put(None)


def test_a_photo_is_detected_over_grpc_and_counted(start: Start, connect: Any, png: bytes):
    server = start()
    answer = DetectionStub(connect(server)).Detect(pb.DetectRequest(image=pb.Image(encoded=png)))
    assert list(answer.detections.labels) == ["red", "blue"]
    _, metrics = server.request("GET", "/metrics")
    assert b'yolov7_requests_total{code="OK",route="/yolov7.v1.Detection/Detect",transport="grpc"} 1.0' in metrics
    server.await_log("/yolov7.v1.Detection/Detect OK ")
    assert f"id={answer.request_id}" in server.log.read_text()


def test_grpc_can_be_switched_off(start: Start):
    assert "gRPC" not in start(grpc="false").log.read_text().replace("grpc", "")


def test_a_port_that_is_taken_ends_the_start_with_one_line(start: Start, command: Callable[..., list[str]]):
    server = start()
    taken = command(grpc_port=server.grpc_port, log_level="error")
    ended = subprocess.run(taken, capture_output=True, text=True, timeout=60, check=False)
    line = f"yolov7-service: cannot listen on 127.0.0.1 port {server.grpc_port} for gRPC: Address already in use\n"
    assert (ended.returncode, ended.stderr) == (1, line)


def test_sigterm_closes_an_open_stream_with_everything_answered(start: Start, connect: Any, png: bytes):
    server = start()
    camera = Camera(connect(server))
    for _ in range(5):
        camera.send(png)
    first = next(camera.answers)
    server.process.send_signal(signal.SIGTERM)
    answers = [first, *camera.answers]
    assert camera.answers.code() == grpc.StatusCode.OK
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds.count("closing") == 1
    assert [answer.result.sequence for answer in answers if answer.HasField("result")] == list(range(len(kinds) - 1))
    camera.close()
    assert server.process.wait(60) == 0
    assert "Traceback" not in server.log.read_text()
    server.await_log("closed")


def test_before_the_doors_close_health_says_so_and_calls_go_on(start: Start, connect: Any, png: bytes):
    server = start(drain_delay_s=2)
    channel = connect(server)
    watching = HealthStub(channel).Watch(HealthCheckRequest(), timeout=60)
    assert next(watching).status == HealthCheckResponse.SERVING
    camera = Camera(channel)
    server.process.send_signal(signal.SIGTERM)
    assert next(watching).status == HealthCheckResponse.NOT_SERVING
    camera.send(png)
    assert next(camera.answers).result.sequence == 0
    assert len(DetectionStub(channel).Detect(pb.DetectRequest(image=pb.Image(encoded=png))).detections.scores) == 2
    assert next(camera.answers).HasField("closing")
    camera.close()
    assert server.process.wait(60) == 0


def begin(server: Running, channel: grpc.Channel) -> Any:
    """A call that has its place, and whose picture never comes."""
    method = channel.stream_unary("/yolov7.v1.Detection/Detect")
    call = method.future(iter(queue.SimpleQueue().get, None), timeout=600)
    while b"yolov7_requests_in_flight 1.0" not in server.request("GET", "/metrics")[1]:
        time.sleep(0.05)
    return call


def test_what_a_drain_cannot_finish_in_time_is_unavailable(start: Start, connect: Any):
    server = start(drain_timeout_s=1)
    call = begin(server, connect(server))
    server.process.send_signal(signal.SIGTERM)
    assert (call.code(), call.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "the service shut down before the answer was ready",
    )
    assert server.process.wait(60) == 0
    assert "Traceback" not in server.log.read_text()


def test_a_second_signal_ends_the_wait_for_calls(start: Start, connect: Any):
    patient = {"body_timeout_s": 600, "request_timeout_ms": 600_000, "max_request_timeout_ms": 600_000}
    server = start(drain_timeout_s=600, **patient)
    call = begin(server, connect(server))
    server.process.send_signal(signal.SIGTERM)
    server.await_log("Shutting down")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert call.code() == grpc.StatusCode.UNAVAILABLE
