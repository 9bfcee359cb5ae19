"""Detect over a real connection: the same answers as over HTTP, and an end for whatever goes wrong."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.access import new_key
from service.app import build_application
from service.errors import EngineDown, EngineNonsense
from service.streams.wire import detection_pb2 as pb

pytestmark = pytest.mark.anyio

Stub = Any
Refuse = Callable[..., Awaitable[Any]]
RequestOf = Callable[..., pb.DetectRequest]
ROUTE = "/yolov7.v1.Detection/Detect"


@pytest.fixture
async def stub(make_stub: Callable[..., Awaitable[Stub]]) -> Stub:
    return await make_stub()


def hold(engine: Any) -> None:
    """No batch ends from now on; `batches` counts those that come."""
    engine.gate.clear()
    engine.batches = 0


def is_shut(port: int) -> bool:
    """Whether nobody listens any more."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) != 0


def listed(answer: pb.DetectResponse) -> list[tuple[str, int, float, list[float]]]:
    """Detections as HTTP lists them."""
    found = answer.detections
    boxes = np.array(found.boxes).reshape(-1, 4).round(3).tolist()
    return list(zip(found.labels, found.class_ids, found.scores, boxes, strict=True))


async def test_a_picture_is_answered_as_over_http(stub: Stub, png: bytes, request_of: RequestOf):
    answer = await stub.Detect(request_of(png, confidence=0.3))
    transport = httpx.ASGITransport(build_application(stub.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        posted = await client.post("/v1/detect?confidence=0.3", content=png, headers={"content-type": "image/png"})
    told = posted.json()
    assert listed(answer) == [
        (found["label"], found["class_id"], pytest.approx(found["score"]), list(found["box"].values()))
        for found in told["detections"]
    ]
    assert len(answer.detections.scores) == 2
    assert {"width": answer.width, "height": answer.height} == told["image"]
    assert {"name": answer.model.name, "version": answer.model.version} == told["model"]


async def test_the_stages_are_told(stub: Stub, png: bytes, request_of: RequestOf):
    answer = await stub.Detect(request_of(png))
    assert answer.stages.infer > 0
    assert answer.stages.decode > 0


def raw_of(picture: NDArray[np.uint8], kind: str) -> pb.Image:
    """The pixels of an RGB picture in a format."""
    pixels = {"RGB": picture, "BGR": picture[..., ::-1], "GREY": picture[..., 0]}[kind]
    height, width = pixels.shape[:2]
    raw = pb.RawImage(format=pb.RawImage.Format.Value(kind), width=width, height=height, data=pixels.tobytes())
    return pb.Image(raw=raw)


@pytest.mark.parametrize("kind", ["RGB", "BGR", "GREY"])
async def test_bare_pixels_are_answered_as_their_png(
    stub: Stub, picture: NDArray[np.uint8], encode: Callable[..., bytes], request_of: RequestOf, kind: str
):
    # Of grey there is nothing colourful to be found but what the floor lets through.
    shown = np.repeat(picture[..., :1], 3, axis=2) if kind == "GREY" else picture
    from_file = await stub.Detect(request_of(encode(shown)))
    from_pixels = await stub.Detect(pb.DetectRequest(image=raw_of(picture, kind)))
    assert from_pixels.detections == from_file.detections
    assert (len(from_file.detections.scores) > 0) == (kind != "GREY")


async def test_pixels_are_never_cached_and_files_are(
    stub: Stub, picture: NDArray[np.uint8], png: bytes, request_of: RequestOf, sample: Callable[..., float]
):
    for _ in range(2):
        await stub.Detect(pb.DetectRequest(image=raw_of(picture, "RGB")))
        await stub.Detect(request_of(png))
    results = {name: sample(stub.service, "cache_total", result=name) for name in ("off", "miss", "hit_memory")}
    assert results == {"off": 2, "miss": 1, "hit_memory": 1}


@pytest.mark.parametrize(("field", "result"), [("no-store", "off"), ("no-cache", "refresh"), ("private", "miss")])
async def test_the_client_says_what_the_cache_may_do(
    stub: Stub, png: bytes, request_of: RequestOf, sample: Callable[..., float], field: str, result: str
):
    await stub.Detect(request_of(png), metadata=(("cache-control", field),))
    assert sample(stub.service, "cache_total", result=result) == 1


@pytest.mark.parametrize(("given", "kept"), [("from-me.1", True), ("no/safe one", False)])
async def test_the_request_id_is_in_the_answer_and_in_the_metadata(
    stub: Stub, png: bytes, request_of: RequestOf, given: str, kept: bool
):
    call = stub.Detect(request_of(png), metadata=(("x-request-id", given),))
    answer = await call
    assert dict(await call.trailing_metadata())["x-request-id"] == answer.request_id
    assert (answer.request_id == given) == kept
    assert answer.request_id


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ({"model": "cars"}, "NOT_FOUND", "unknown-model"),
        ({"version": "9"}, "NOT_FOUND", "unknown-model"),
        ({"iou": 2}, "INVALID_ARGUMENT", "invalid-option"),
        ({"classes": ["yellow"]}, "INVALID_ARGUMENT", "invalid-option"),
        ({"class_confidence": {"red": 7}}, "INVALID_ARGUMENT", "invalid-option"),
    ],
)
async def test_options_that_are_refused(
    stub: Stub, png: bytes, request_of: RequestOf, refused: Refuse, options: dict[str, Any], code: str, reason: str
):
    end = await refused(stub.Detect(request_of(png, **options), metadata=(("x-request-id", "from-me.1"),)))
    assert (end.code, end.reason) == (code, reason)
    assert end.details["RequestInfo"].request_id == end.trailing["x-request-id"] == "from-me.1"
    violations = end.details["BadRequest"].field_violations if "BadRequest" in end.details else []
    assert [violation.field for violation in violations] == (list(options) if reason == "invalid-option" else [])


@pytest.mark.parametrize(
    ("image", "code", "reason"),
    [
        (pb.Image(), "INVALID_ARGUMENT", "malformed-request"),
        (pb.Image(encoded=b"no picture"), "INVALID_ARGUMENT", "unsupported-image"),
        (pb.Image(raw={"format": "RGB", "width": 3, "height": 3, "data": b"1"}), "INVALID_ARGUMENT",
         "undecodable-image"),
        (pb.Image(raw={"format": "RGB", "width": 9999, "height": 9999, "data": b"1"}), "RESOURCE_EXHAUSTED",
         "image-too-large"),
        (pb.Image(encoded=bytes(20_001)), "RESOURCE_EXHAUSTED", "body-too-large"),
    ],
)  # fmt: skip
async def test_pictures_that_are_refused(
    make_stub: Callable[..., Awaitable[Stub]], refused: Refuse, image: pb.Image, code: str, reason: str
):
    stub = await make_stub(max_body_bytes=20_000)
    end = await refused(stub.Detect(pb.DetectRequest(image=image)))
    assert (end.code, end.reason) == (code, reason)


async def test_a_message_over_the_limit_is_refused_and_harms_no_one(
    make_stub: Callable[..., Awaitable[Stub]], png: bytes, request_of: RequestOf, refused: Refuse
):
    stub = await make_stub(max_body_bytes=20_000)
    assert (await refused(stub.Detect(request_of(bytes(1_000_000))))).code == "RESOURCE_EXHAUSTED"
    assert len((await stub.Detect(request_of(png))).detections.scores) == 2


async def test_bytes_that_are_no_message_are_malformed(stub: Stub, open_channel: Any, refused: Refuse):
    method = open_channel(stub.port).unary_unary(ROUTE)
    end = await refused(method(b"\xff\xff\xff\xff"))
    assert (end.code, end.reason) == ("INVALID_ARGUMENT", "malformed-request")


@pytest.fixture
def keys_file(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file of two keys, one that may detect, and one that may not; and what they are."""
    entries, tokens = [], {}
    for name, right in (("camera", "detect"), ("operator", "admin")):
        tokens[name], entry = new_key(name, (right,))
        entries.append(entry)
    path = tmp_path / "keys.toml"
    path.write_text("\n".join(entries))
    return path, tokens


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("authorization", "Bearer {camera}", "OK"),
        ("x-api-key", "{camera}", "OK"),
        ("x-api-key", "y7_wrong", "UNAUTHENTICATED"),
        ("x-api-key", "{operator}", "PERMISSION_DENIED"),
        ("authorization", "Basic {camera}", "UNAUTHENTICATED"),
    ],
)
async def test_keys_and_rights(
    make_stub: Callable[..., Awaitable[Stub]], png: bytes, request_of: RequestOf, keys_file: Any, field: str,
    value: str, code: str, sample: Callable[..., float],
):  # fmt: skip
    path, tokens = keys_file
    stub = await make_stub(keys_file=path)
    call = stub.Detect(request_of(png), metadata=((field, value.format(**tokens)),))
    assert (await call.code()).name == code
    refusals = {"UNAUTHENTICATED": "unauthenticated", "PERMISSION_DENIED": "forbidden"}
    assert sum(sample(stub.service, "rejected_total", reason=reason) for reason in refusals.values()) == (code != "OK")


async def test_a_rate_is_taken_before_the_picture_is_read(
    make_stub: Callable[..., Awaitable[Stub]], png: bytes, request_of: RequestOf, refused: Refuse
):
    stub = await make_stub(anonymous_rate="1/hour")
    await stub.Detect(request_of(png))
    end = await refused(stub.Detect(request_of(png)))
    assert (end.code, end.reason) == ("RESOURCE_EXHAUSTED", "rate-limited")
    assert end.details["RetryInfo"].retry_delay.seconds > 0


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (EngineDown("away", retry_after_s=3), "UNAVAILABLE", "engine-failed"),
        (EngineNonsense("what?"), "UNAVAILABLE", "engine-nonsense"),
    ],
)
async def test_an_engine_that_fails(
    make_stub: Any, engine_with_switch: Any, png: bytes, request_of: RequestOf, refused: Refuse, error: Exception,
    code: str, reason: str,
):  # fmt: skip
    stub = await make_stub(engine_with_switch)
    engine_with_switch.error = error
    end = await refused(stub.Detect(request_of(png)))
    assert (end.code, end.reason) == (code, reason)
    assert end.details["RetryInfo"].retry_delay.seconds > 0


async def test_no_place_left_is_unavailable(
    make_stub: Any, engine_with_switch: Any, png: bytes, request_of: RequestOf, refused: Refuse, until: Any
):
    stub = await make_stub(engine_with_switch, max_in_flight=1)
    hold(engine_with_switch)
    first = stub.Detect(request_of(png))
    await until(lambda: engine_with_switch.batches)
    end = await refused(stub.Detect(request_of(png)))
    assert (end.code, end.reason) == ("UNAVAILABLE", "overloaded")
    assert "RetryInfo" in end.details
    engine_with_switch.gate.set()
    assert len((await first).detections.scores) == 2


async def test_a_deadline_of_the_service_ends_a_call_that_sets_none(
    make_stub: Any, engine_with_switch: Any, png: bytes, request_of: RequestOf, refused: Refuse
):
    stub = await make_stub(engine_with_switch, request_timeout_ms=200)
    hold(engine_with_switch)
    end = await refused(stub.Detect(request_of(png)))
    engine_with_switch.gate.set()
    assert (end.code, end.reason) == ("DEADLINE_EXCEEDED", "deadline-exceeded")


async def test_the_clients_deadline_is_the_requests(
    make_stub: Any, engine_with_switch: Any, png: bytes, request_of: RequestOf, refused: Refuse, until: Any,
    sample: Callable[..., float],
):  # fmt: skip
    stub = await make_stub(engine_with_switch)
    hold(engine_with_switch)
    assert (await refused(stub.Detect(request_of(png), timeout=0.2))).code == "DEADLINE_EXCEEDED"
    labels = {"transport": "grpc", "route": ROUTE, "code": "DEADLINE_EXCEEDED"}
    await until(lambda: sample(stub.service, "requests_total", **labels) == 1)
    assert sample(stub.service, "requests_in_flight") == 0
    engine_with_switch.gate.set()


async def test_who_leaves_frees_the_place(
    make_stub: Any, engine_with_switch: Any, png: bytes, request_of: RequestOf, until: Any, sample: Callable[..., float]
):
    stub = await make_stub(engine_with_switch)
    hold(engine_with_switch)
    call = stub.Detect(request_of(png))
    await until(lambda: sample(stub.service, "requests_in_flight") == 1 and engine_with_switch.batches)
    call.cancel()
    await until(lambda: sample(stub.service, "requests_in_flight") == 0)
    await until(lambda: sample(stub.service, "errors_total", kind="client-left") == 1)
    engine_with_switch.gate.set()


async def test_a_message_that_does_not_come_holds_no_place_for_long(
    make_stub: Any, open_channel: Any, refused: Refuse, sample: Callable[..., float]
):
    stub = await make_stub(body_timeout_s=0.2)
    # On the wire a unary method's client is one that sends one message.
    call = open_channel(stub.port).stream_unary(ROUTE)(timeout=10)
    end = await refused(call)
    assert (end.code, end.reason) == ("DEADLINE_EXCEEDED", "body-too-slow")
    assert sample(stub.service, "requests_in_flight") == 0


async def test_a_call_without_a_message_is_malformed(stub: Stub, open_channel: Any, refused: Refuse):
    call = open_channel(stub.port).stream_unary(ROUTE)(timeout=10)
    await call.done_writing()
    assert (await refused(call)).reason == "malformed-request"


async def test_each_call_is_counted_and_logged(
    stub: Stub, png: bytes, request_of: RequestOf, refused: Refuse, sample: Callable[..., float], caplog: Any
):
    caplog.set_level("INFO")
    await stub.Detect(request_of(png))
    await refused(stub.Detect(request_of(b"no picture")))
    for code in ("OK", "INVALID_ARGUMENT"):
        assert sample(stub.service, "requests_total", transport="grpc", route=ROUTE, code=code) == 1
    assert sample(stub.service, "request_duration_seconds_count", transport="grpc", route=ROUTE) == 2
    assert sample(stub.service, "errors_total", kind="unsupported-image") == 1
    lines = [record.getMessage() for record in caplog.records if ROUTE in record.getMessage()]
    assert [line.split()[1] for line in lines] == ["OK", "INVALID_ARGUMENT"]


async def test_a_bug_is_told_without_its_words(stub: Stub, png: bytes, request_of: RequestOf, refused: Refuse):
    stub.service.models.resolve = None
    end = await refused(stub.Detect(request_of(png)))
    assert (end.code, end.reason) == ("INTERNAL", "internal")
    assert "NoneType" not in end.text


async def test_what_a_stop_cannot_finish_in_time_is_unavailable(
    make_stub: Any, engine_with_switch: Any, png: bytes, request_of: RequestOf, refused: Refuse, until: Any
):
    stub = await make_stub(engine_with_switch)
    hold(engine_with_switch)
    call = stub.Detect(request_of(png))
    await until(lambda: engine_with_switch.batches)
    await stub.server.stop(0.1)
    end = await refused(call)
    engine_with_switch.gate.set()
    assert (end.code, end.reason) == ("UNAVAILABLE", "draining")


async def test_a_stop_finishes_what_was_accepted(
    make_stub: Any, engine_with_switch: Any, png: bytes, request_of: RequestOf, refused: Refuse, until: Any
):
    stub = await make_stub(engine_with_switch)
    hold(engine_with_switch)
    call = stub.Detect(request_of(png))
    await until(lambda: engine_with_switch.batches)
    stopping = asyncio.create_task(stub.server.stop(10))
    await until(lambda: is_shut(stub.port))
    assert (await refused(stub.Detect(request_of(png), timeout=5))).code == "UNAVAILABLE"
    engine_with_switch.gate.set()
    assert len((await call).detections.scores) == 2
    await stopping
