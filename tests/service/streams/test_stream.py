"""DetectStream over a real connection: every frame answered once and in order, whatever else happens."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from service.access import new_key
from service.streams.wire import detection_pb2 as pb

pytestmark = pytest.mark.anyio

Stub = Any
MakeStub = Callable[..., Awaitable[Stub]]
MakeCamera = Callable[..., Any]
Refuse = Callable[..., Awaitable[Any]]
EVERY = {"every": pb.Every()}
ROUTE = "/yolov7.v1.Detection/DetectStream"


def sequences(answers: list[pb.StreamResponse]) -> list[int]:
    """Those of the frames that were answered or dropped, in the order they were told."""
    told: list[int] = []
    for answer in answers:
        kind = answer.WhichOneof("message")
        if kind == "dropped":
            told += [answer.dropped.first, answer.dropped.last][: answer.dropped.count]
        elif kind != "closing":
            told.append(getattr(answer, kind).sequence)
    return told


def counted(answers: list[pb.StreamResponse]) -> int:
    """How many frames the answers are for."""
    drops = sum(answer.dropped.count for answer in answers if answer.HasField("dropped"))
    return drops + sum(answer.WhichOneof("message") in ("result", "error") for answer in answers)


async def test_opened_says_what_is_in_force(make_stub: MakeStub, camera: MakeCamera):
    stub = await make_stub(stream_credits=8)
    opened = await camera(stub).open(**EVERY)
    assert (opened.model.name, opened.model.version) == ("blocks", "1")
    assert list(opened.class_names) == ["red", "green", "blue"]
    assert (opened.credits, opened.max_age) == (8, 0)
    assert (await camera(stub).open(every=pb.Every(credits=3))).credits == 3
    opened = await camera(stub).open(latest=pb.Latest(max_age=0.5))
    assert (opened.credits, opened.max_age) == (0, 0.5)
    assert (await camera(stub).open()).max_age == 1


async def test_a_frame_is_answered_as_its_picture_is(stub: Stub, camera: MakeCamera, png: bytes):
    single = await stub.Detect(pb.DetectRequest(image=pb.Image(encoded=png)))
    stream = camera(stub)
    await stream.open(**EVERY)
    await stream.send(7, png, captured_at=123.25)
    result = (await stream.answer()).result
    assert result.detections == single.detections
    assert (result.sequence, result.captured_at, result.width, result.height) == (7, 123.25, 128, 128)
    assert (result.model, result.age > 0, result.stages.infer > 0) == (single.model, True, True)
    assert await stream.rest() == []


async def test_the_options_of_the_opening_hold_for_each_frame(stub: Stub, camera: MakeCamera, png: bytes):
    stream = camera(stub)
    await stream.open(options=pb.Options(classes=["blue"]), **EVERY)
    for sequence in (1, 2):
        await stream.send(sequence, png)
        assert list((await stream.answer()).result.detections.labels) == ["blue"]


async def test_every_answers_each_frame_in_order(stub: Stub, camera: MakeCamera, png: bytes):
    stream = camera(stub)
    await stream.open(**EVERY)

    async def send() -> None:
        for sequence in range(100):
            await stream.send(sequence, png)

    sending = asyncio.create_task(send())
    answers = [await stream.answer() for _ in range(100)]
    await sending
    assert [answer.result.sequence for answer in answers] == list(range(100))
    assert await stream.rest() == []


@pytest.mark.parametrize(
    ("frame", "kind", "code"),
    [
        ({}, "malformed-request", "INVALID_ARGUMENT"),
        ({"image": pb.Image(encoded=b"no picture")}, "unsupported-image", "INVALID_ARGUMENT"),
        ({"image": pb.Image(encoded=bytes(20_001))}, "body-too-large", "RESOURCE_EXHAUSTED"),
        ({"image": pb.Image(raw={"width": 1, "height": 1, "data": b"1"})}, "malformed-request", "INVALID_ARGUMENT"),
        ({"image": pb.Image(raw={"format": 1, "width": 9, "height": 9})}, "undecodable-image", "INVALID_ARGUMENT"),
    ],
)
async def test_a_bad_frame_in_the_middle_fails_alone(
    make_stub: MakeStub, camera: MakeCamera, png: bytes, frame: dict[str, Any], kind: str, code: str
):
    stream = camera(await make_stub(max_body_bytes=20_000))
    await stream.open(**EVERY)
    await stream.send(1, png)
    await stream.send(2, captured_at=5.0, **frame)
    await stream.send(3, png)
    answers = await stream.rest()
    assert [answer.WhichOneof("message") for answer in answers] == ["result", "error", "result"]
    error = answers[1].error
    assert (error.sequence, error.captured_at, error.kind) == (2, 5.0, kind)
    assert error.code == grpc.StatusCode[code].value[0]
    assert error.message


async def test_a_sequence_that_does_not_rise_fails_alone(stub: Stub, camera: MakeCamera, png: bytes):
    stream = camera(stub)
    await stream.open(**EVERY)
    for sequence in (5, 5, 6):
        await stream.send(sequence, png)
    answers = await stream.rest()
    assert [answer.WhichOneof("message") for answer in answers] == ["result", "error", "result"]
    assert answers[1].error.kind == "invalid-option"


async def test_latest_drops_what_a_newer_frame_replaced(
    make_stub: MakeStub, engine_with_switch: Any, camera: MakeCamera, png: bytes, until: Any, sample: Any
):
    stub = await make_stub(engine_with_switch)
    engine_with_switch.gate.clear()
    stream = camera(stub)
    await stream.open(latest=pb.Latest(max_age=30))
    for sequence in range(200):
        await stream.send(sequence, png)
    await stream.call.done_writing()
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 1)
    engine_with_switch.gate.set()
    answers = await stream.rest()
    assert counted(answers) == 200
    told = sequences(answers)
    assert told == sorted(told)
    assert answers[-1].result.sequence == 199
    assert {answer.dropped.reason for answer in answers if answer.HasField("dropped")} == {pb.Dropped.REPLACED}


async def test_frames_that_are_too_old_are_stale(
    make_stub: MakeStub, engine_with_switch: Any, camera: MakeCamera, png: bytes
):
    stub = await make_stub(engine_with_switch)
    engine_with_switch.gate.clear()
    stream = camera(stub)
    await stream.open(latest=pb.Latest(max_age=0.1))
    await stream.send(1, png)
    dropped = (await stream.answer()).dropped
    engine_with_switch.gate.set()
    assert (dropped.reason, dropped.first, dropped.last, dropped.count) == (pb.Dropped.STALE, 1, 1, 1)


async def test_every_loses_nothing_under_a_slow_engine(
    make_stub: MakeStub, engine_with_switch: Any, camera: MakeCamera, png: bytes, until: Any, sample: Any
):
    stub = await make_stub(engine_with_switch, stream_credits=4)
    engine_with_switch.gate.clear()
    stream = camera(stub)
    await stream.open(**EVERY)
    for sequence in range(40):
        await stream.send(sequence, png)
    await until(lambda: sample(stub.service, "requests_in_flight") > 0)
    engine_with_switch.gate.set()
    answers = await stream.rest()
    assert [answer.result.sequence for answer in answers] == list(range(40))


@pytest.mark.parametrize(
    ("opening", "code", "reason"),
    [
        ({"options": pb.Options(model="cars")}, "NOT_FOUND", "unknown-model"),
        ({"options": pb.Options(iou=7)}, "INVALID_ARGUMENT", "invalid-option"),
        ({"options": pb.Options(classes=["yellow"])}, "INVALID_ARGUMENT", "invalid-option"),
        ({"latest": pb.Latest(max_age=0)}, "INVALID_ARGUMENT", "invalid-option"),
        ({"latest": pb.Latest(max_age=float("nan"))}, "INVALID_ARGUMENT", "invalid-option"),
        ({"every": pb.Every(credits=0)}, "INVALID_ARGUMENT", "invalid-option"),
        ({"name": "x" * 101}, "INVALID_ARGUMENT", "invalid-option"),
        ({"name": "line\nbreak"}, "INVALID_ARGUMENT", "invalid-option"),
    ],
)
async def test_openings_that_are_refused(
    stub: Stub, camera: MakeCamera, refused: Refuse, opening: dict[str, Any], code: str, reason: str
):
    end = await refused(camera(stub, metadata=(("x-request-id", "from-me.1"),)).open(**opening))
    assert (end.code, end.reason) == (code, reason)
    assert end.details["RequestInfo"].request_id == end.trailing["x-request-id"] == "from-me.1"


async def test_a_stream_begins_with_open(stub: Stub, camera: MakeCamera, refused: Refuse, png: bytes):
    stream = camera(stub)
    await stream.send(1, png)
    end = await refused(stream.answer())
    assert (end.code, end.reason) == ("INVALID_ARGUMENT", "malformed-request")


async def test_a_stream_that_is_never_opened_ends(stub: Stub, camera: MakeCamera, refused: Refuse):
    detection = stub.server._detection
    detection._limits = dataclasses.replace(detection._limits, open_timeout_s=0.1)
    end = await refused(camera(stub).answer())
    assert (end.code, end.reason) == ("DEADLINE_EXCEEDED", "deadline-exceeded")


async def test_a_client_that_ends_before_it_opens_is_told(stub: Stub, camera: MakeCamera, refused: Refuse):
    stream = camera(stub)
    await stream.call.done_writing()
    assert (await refused(stream.answer())).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("message", [pb.StreamRequest(open=pb.Open()), pb.StreamRequest()])
async def test_what_is_no_frame_ends_the_stream(
    stub: Stub, camera: MakeCamera, refused: Refuse, message: pb.StreamRequest, sample: Any
):
    stream = camera(stub)
    await stream.open(**EVERY)
    await stream.call.write(message)
    end = await refused(stream.answer())
    assert (end.code, end.reason) == ("INVALID_ARGUMENT", "malformed-request")
    assert sample(stub.service, "streams_open", transport="grpc") == 0


async def test_keys_are_asked_before_anything_is_read(
    make_stub: MakeStub, camera: MakeCamera, refused: Refuse, tmp_path: Any
):
    token, entry = new_key("camera", ("detect",))
    (tmp_path / "keys.toml").write_text(entry)
    stub = await make_stub(keys_file=tmp_path / "keys.toml")
    assert (await refused(camera(stub).answer())).code == "UNAUTHENTICATED"
    assert (await camera(stub, metadata=(("x-api-key", token),)).open()).model.name == "blocks"


async def test_the_rate_drops_frames_and_not_the_stream(make_stub: MakeStub, camera: MakeCamera, png: bytes):
    stream = camera(await make_stub(anonymous_rate="1/hour"))
    await stream.open(latest=pb.Latest(max_age=30))
    await stream.send(1, png)
    assert (await stream.answer()).result.sequence == 1
    await stream.send(2, png)
    assert (await stream.answer()).dropped.reason == pb.Dropped.RATE
    assert await stream.rest() == []


async def test_no_more_streams_than_are_taken(
    make_stub: MakeStub, camera: MakeCamera, refused: Refuse, until: Any, sample: Any
):
    stub = await make_stub(max_streams=1)
    first = camera(stub)
    await first.open()
    end = await refused(camera(stub).open())
    assert (end.code, end.reason) == ("UNAVAILABLE", "overloaded")
    assert await first.rest() == []
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 0)
    await camera(stub).open()


async def test_the_deadline_of_a_stream_ends_it(
    stub: Stub, camera: MakeCamera, refused: Refuse, until: Any, sample: Any
):
    stream = camera(stub, timeout=0.3)
    await stream.open()
    assert (await refused(stream.answer())).code == "DEADLINE_EXCEEDED"
    labels = {"transport": "grpc", "route": ROUTE, "code": "DEADLINE_EXCEEDED"}
    await until(lambda: sample(stub.service, "requests_total", **labels) == 1)
    assert sample(stub.service, "streams_open", transport="grpc") == 0


async def test_drain_answers_what_was_read_and_closes(
    make_stub: MakeStub, engine_with_switch: Any, camera: MakeCamera, png: bytes, until: Any, sample: Any
):
    stub = await make_stub(engine_with_switch)
    engine_with_switch.gate.clear()
    stream = camera(stub)
    await stream.open(**EVERY)
    await stream.send(1, png)
    await until(lambda: sample(stub.service, "requests_in_flight") == 1)
    stub.service.streams.drain()
    assert (await stream.answer()).closing.retry_after > 0
    engine_with_switch.gate.set()
    assert (await stream.answer()).result.sequence == 1
    assert await stream.call.read() is grpc.aio.EOF
    assert await stream.call.code() == grpc.StatusCode.OK


async def test_no_stream_opens_while_draining(stub: Stub, camera: MakeCamera, refused: Refuse):
    stub.service.streams.drain()
    end = await refused(camera(stub).open())
    assert (end.code, end.reason) == ("UNAVAILABLE", "draining")
    assert "RetryInfo" in end.details


async def test_who_leaves_ends_the_stream_and_harms_no_other(
    make_stub: MakeStub, engine_with_switch: Any, camera: MakeCamera, png: bytes, until: Any, sample: Any
):
    stub = await make_stub(engine_with_switch)
    other, leaving = camera(stub), camera(stub)
    await other.open(**EVERY)
    await leaving.open(**EVERY)
    engine_with_switch.gate.clear()
    await leaving.send(1, png)
    await until(lambda: sample(stub.service, "requests_in_flight") == 1)
    leaving.call.cancel()
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 1)
    await until(lambda: sample(stub.service, "requests_in_flight") == 0)
    engine_with_switch.gate.set()
    await other.send(1, png)
    assert (await other.answer()).result.sequence == 1
    assert sample(stub.service, "errors_total", kind="client-left") == 1


async def test_a_message_over_the_limit_ends_its_stream_alone(
    make_stub: MakeStub, camera: MakeCamera, refused: Refuse, png: bytes, until: Any, sample: Any
):
    stub = await make_stub(max_body_bytes=20_000)
    other, large = camera(stub), camera(stub)
    await other.open(**EVERY)
    await large.open(**EVERY)
    await large.send(1, bytes(1_000_000))
    assert (await refused(large.answer())).code == "RESOURCE_EXHAUSTED"
    await until(lambda: sample(stub.service, "streams_open", transport="grpc") == 1)
    await other.send(1, png)
    assert (await other.answer()).result.sequence == 1
