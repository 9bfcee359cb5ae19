"""One stream from its opening to its end, with the real engine."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.app import Service
from service.errors import StreamTooSlow
from service.live import Answered, Closing, Every, Latest, Stream, Streams

pytestmark = pytest.mark.anyio

Camera = Any
MakeService = Callable[..., Awaitable[Service]]
Running = Callable[..., Any]
StreamOnce = Callable[..., Awaitable[Stream]]
Until = Callable[..., Awaitable[None]]
Sample = Callable[..., float]
BOTH = pytest.mark.parametrize("delivery", [Latest(60.0), Every(4)])


def assert_at_rest(service: Service, sample: Sample) -> None:
    """Nothing is under way, of any stream or otherwise."""
    assert sample(service, "requests_in_flight") == sample(service, "queue_length") == 0
    assert service.streams._turns.under_way == len(service.streams) == len(service.streams._turns._waiting) == 0
    assert sample(service, "streams_open", transport="grpc") == 0


@BOTH
async def test_a_frame_is_answered_as_a_picture_is(
    service: Service, camera: Camera, stream_once: StreamOnce, delivery: Latest | Every, sample: Sample
):
    camera.shoot(7)
    camera.leave()
    await stream_once(service, camera, delivery, confidence=0.5)
    (answer,) = camera.answers
    assert isinstance(answer, Answered)
    assert (answer.frame.sequence, answer.frame.captured_at, answer.frame.picture) == (7, 3.5, b"")
    assert answer.detected.detections.class_ids.tolist() == [0, 2]
    assert answer.detected.cache == "off"
    assert (answer.served.model.name, answer.age_s > 0) == ("blocks", True)
    assert_at_rest(service, sample)


@BOTH
async def test_a_broken_frame_fails_alone(
    service: Service, camera: Camera, stream_once: StreamOnce, delivery: Latest | Every, sample: Sample
):
    camera.shoot(1, picture=b"no picture")
    camera.leave()
    await stream_once(service, camera, delivery)
    camera.shoot(2)
    camera.leave()
    await stream_once(service, camera, delivery)
    assert camera.told == [("UnsupportedImage", 1, 1), ("answered", 2, 2)]
    assert_at_rest(service, sample)


@BOTH
async def test_sequence_numbers_rise(
    service: Service, camera: Camera, running: Running, until: Until, delivery: Latest | Every
):
    async with running(service, camera, delivery):
        for answered, sequence in enumerate((5, 5, 4, 6), 1):
            camera.shoot(sequence)
            await until(lambda answered=answered: len(camera.answers) == answered)
    assert [kind for kind, _, _ in camera.told] == ["answered", "InvalidOption", "InvalidOption", "answered"]
    assert "5 came after 5" in str(camera.answers[1].error)


@BOTH
async def test_what_the_sender_raises_ends_it(
    service: Service, camera: Camera, stream_once: StreamOnce, delivery: Latest | Every, sample: Sample
):
    camera.shoot(1, 2, 3)
    camera.fail(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError, match="gone"):
        await stream_once(service, camera, delivery)
    assert_at_rest(service, sample)


async def test_what_the_reader_raises_ends_it(
    service: Service, camera: Camera, want: Callable[..., Any], sample: Sample
):
    async def send(answer: object) -> None:
        raise BrokenPipeError("gone")

    camera.shoot(1, 2, 3)
    with service.streams.open(want(Every(8))) as stream, pytest.raises(BrokenPipeError):
        await stream.run(camera.frames(), send)
    assert_at_rest(service, sample)


@BOTH
async def test_a_cancelled_stream_leaves_nothing_under_way(
    make_service: MakeService,
    engine_with_switch: Any,
    camera: Camera,
    running: Running,
    until: Until,
    sample: Sample,
    delivery: Latest | Every,
):
    service = await make_service(engine_with_switch)
    engine_with_switch.gate.clear()
    camera.shoot(1, 2, 3)
    async with running(service, camera, delivery) as (_, task):
        await until(lambda: sample(service, "requests_in_flight") > 0 and camera.pulled == 3)
    assert task.cancelled()
    assert_at_rest(service, sample)
    engine_with_switch.gate.set()


async def test_a_bug_ends_it_and_is_counted(
    service: Service, camera: Camera, stream_once: StreamOnce, sample: Sample, caplog: pytest.LogCaptureFixture
):
    camera.shoot(1, picture=7)
    with pytest.raises(AttributeError):
        await stream_once(service, camera)
    assert sample(service, "errors_total", kind="stream-bug") == 1
    assert any(record.exc_info for record in caplog.records)
    assert_at_rest(service, sample)


async def test_a_reader_that_takes_nothing_ends_it(
    service: Service, camera: Camera, want: Callable[..., Any], limited: Callable[..., Streams], sample: Sample
):
    camera.gate.clear()
    camera.shoot(1)
    with limited(service, send_timeout_s=0.01).open(want()) as stream, pytest.raises(StreamTooSlow):
        await stream.run(camera.frames(), camera.send)
    assert_at_rest(service, sample)


async def test_a_timeout_of_the_transports_own_is_not_taken_for_slowness(
    service: Service, camera: Camera, want: Callable[..., Any]
):
    async def send(answer: object) -> None:
        raise TimeoutError("mine")

    camera.shoot(1)
    with service.streams.open(want()) as stream, pytest.raises(TimeoutError, match="mine"):
        await stream.run(camera.frames(), send)


@BOTH
async def test_a_drain_answers_what_was_accepted_and_reads_nothing_further(
    make_service: MakeService,
    engine_with_switch: Any,
    camera: Camera,
    running: Running,
    until: Until,
    sample: Sample,
    delivery: Latest | Every,
):
    service = await make_service(engine_with_switch)
    engine_with_switch.gate.clear()
    camera.shoot(1, 2)
    async with running(service, camera, delivery) as (_, task):
        await until(lambda: camera.pulled == 2 and sample(service, "requests_in_flight") > 0)
        service.streams.drain()
        await until(lambda: bool(camera.answers))
        assert isinstance(camera.answers[0], Closing)
        camera.shoot(3)
        engine_with_switch.gate.set()
        await task
    assert [(first, last) for _, first, last in camera.told] == [(1, 1), (2, 2)]
    await service.streams.closed()
    assert_at_rest(service, sample)


@BOTH
async def test_a_drain_is_told_also_where_an_answer_is_still_leaving(
    make_service: MakeService,
    engine_with_switch: Any,
    camera: Camera,
    running: Running,
    until: Until,
    delivery: Latest | Every,
):
    service = await make_service(engine_with_switch)
    camera.gate.clear()
    camera.shoot(1)
    async with running(service, camera, delivery) as (stream, task):
        await until(lambda: stream.counts["answered"] == 1)
        service.streams.drain()
        camera.shoot(2)
        await until(lambda: camera.pulled == 2)
        camera.gate.set()
        await task
    assert [type(answer) for answer in camera.answers] == [Answered, Closing]


async def test_a_drain_before_the_first_frame_ends_it_at_once(
    service: Service, camera: Camera, want: Callable[..., Any], limited: Callable[..., Streams]
):
    streams = limited(service)
    camera.shoot(1)
    with streams.open(want()) as stream:
        streams.drain()
        await stream.run(camera.frames(), camera.send)
    assert ([type(answer) for answer in camera.answers], camera.pulled) == ([Closing], 0)
    await streams.closed()
