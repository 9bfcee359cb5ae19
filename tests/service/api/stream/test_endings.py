"""How a stream ends: by its client's mistakes, by a client that is gone or does not read, and by a drain."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from service.api.stream_conversation import OPENING_S, Conversation, close_code
from service.app.wire import Bounds
from service.errors import ModelNotReady, StreamTooSlow

pytestmark = pytest.mark.anyio

Serve = Callable[..., Awaitable[Any]]
OPEN = '{"type": "open"}'


@pytest.mark.parametrize(
    ("message", "code", "problem", "detail"),
    [
        ("{", 1007, "malformed-request", "not JSON"),
        ("[]", 1007, "malformed-request", "not a JSON object"),
        ('{"type": NaN}', 1007, "malformed-request", "not JSON"),
        (b"picture", 1008, "malformed-request", "the first message"),
        ('{"type": "end"}', 1008, "malformed-request", "the first message"),
        ("{}", 1008, "malformed-request", "has the type open"),
        ('{"type": ["open"]}', 1008, "malformed-request", "has the type open"),
        ('{"type": "open", "nmae": "x"}', 1008, "invalid-option", "nmae"),
        ('{"type": "open", "delivery": "some"}', 1008, "invalid-option", "delivery"),
        ('{"type": "open", "max_age_ms": 0}', 1008, "invalid-option", "max_age_ms"),
        ('{"type": "open", "delivery": "every", "credits": 0}', 1008, "invalid-option", "credits"),
        ('{"type": "open", "name": "a\\nb"}', 1008, "invalid-option", "name"),
        ('{"type": "open", "max_age_ms": "7"}', 1008, "invalid-option", "max_age_ms: "),
        ('{"type": "open", "max_age_ms": true}', 1008, "invalid-option", "max_age_ms: "),
        ('{"type": "open", "delivery": "every", "credits": 2.0}', 1008, "invalid-option", "credits: "),
        ('{"type": "open", "delivery": "every", "credits": true}', 1008, "invalid-option", "credits: "),
        ('{"type": "open", "name": 7}', 1008, "invalid-option", "name: "),
        ('{"type": "open", "options": [["iou", 1]]}', 1008, "invalid-option", "options: "),
        ('{"type": "open", "options": {"confidence": "0.5"}}', 1008, "invalid-option", "confidence: "),
        ('{"type": "open", "options": {"confidence": true}}', 1008, "invalid-option", "confidence: "),
        ('{"type": "open", "options": {"max_detections": "7"}}', 1008, "invalid-option", "max_detections: "),
        ('{"type": "open", "options": {"multi_label": 1}}', 1008, "invalid-option", "multi_label: "),
        ('{"type": "open", "options": {"model": 7}}', 1008, "invalid-option", "model: "),
        ('{"type": "open", "options": {"classes": [true]}}', 1008, "invalid-option", "classes: "),
        ('{"type": "open", "options": {"class_confidence": {"red": "0.5"}}}', 1008, "invalid-option", "confidence: "),
        ('{"type": "open", "options": {"class_confidence": {"red": true}}}', 1008, "invalid-option", "confidence: "),
        ('{"type": "open", "options": {"confidense": 1}}', 1008, "invalid-option", "confidense"),
        ('{"type": "open", "options": {"confidence": 7}}', 1008, "invalid-option", "confidence"),
        ('{"type": "open", "options": {"classes": "red"}}', 1008, "invalid-option", "classes"),
        ('{"type": "open", "options": {"classes": ["cow"]}}', 1008, "invalid-option", "'cow'"),
        ('{"type": "open", "options": {"class_confidence": ["red"]}}', 1008, "invalid-option", "class_confidence"),
        ('{"type": "open", "options": {"class_confidence": {"red": "x"}}}', 1008, "invalid-option", "confidence"),
        ('{"type": "open", "options": {"model": "cows"}}', 1008, "unknown-model", "cows"),
        (json.dumps({"type": "open", "name": "x" * 70_000}), 1009, "body-too-large", "65,536"),
    ],
)
async def test_what_is_no_opening_is_told_and_ends_it(
    server: Any, message: str | bytes, code: int, problem: str, detail: str
):
    caller = await server.connect()
    await caller.say(message)
    (told,), closed = await caller.rest()
    assert (told["type"], "sequence" in told, closed) == ("error", False, code)
    assert told["problem"]["type"] == f"urn:yolov7-service:problem:{problem}"
    assert detail in told["problem"]["detail"]
    assert set(told["problem"]) == {"type", "title", "status", "detail"}


@pytest.mark.parametrize(
    "messages",
    [
        [OPEN],
        ['{"type": "frame", "sequence": -1}'],
        ['{"type": "frame", "sequence": 9007199254740992}'],
        ['{"type": "frame", "sequence": "7"}'],
        ['{"type": "frame", "sequence": true}'],
        ['{"type": "frame", "captured_at": "now"}'],
        ['{"type": "frame", "captured_at": "7"}'],
        ['{"type": "frame", "format": "rgb", "width": "3", "height": 3}'],
        ['{"type": "options", "options": {"iou": "0.5"}}'],
        ['{"type": "frame", "width": 3}'],
        ['{"type": "frame", "format": "yuv", "width": 3, "height": 3}'],
        ['{"type": "frame"}', '{"type": "frame"}'],
        ['{"type": "frame"}', '{"type": "end"}'],
        ['{"type": "options", "options": {"classes": ["cow"]}}'],
        ['{"type": "options", "options": {"model": "other"}}'],
        ['{"type": "opened"}'],
    ],
)
async def test_what_breaks_the_protocol_later_ends_it_with_1008(server: Any, messages: list[str]):
    caller = await server.connect()
    await caller.open()
    for message in messages:
        await caller.say(message)
    (told,), code = await caller.rest()
    assert (told["type"], code) == ("error", 1008)
    assert told["problem"]["status"] in (400, 422)


async def test_a_picture_that_is_too_large_ends_it_with_1009(serve: Serve):
    server = await serve(max_body_bytes=100_000)
    caller = await server.connect()
    await caller.open()
    await caller.say(bytes(100_000))
    assert (await caller.hear())["type"] == "error"
    await caller.say(bytes(100_001))
    assert await caller.rest() == ([], 1009)


async def test_who_says_nothing_is_told_so(server: Any, until: Any):
    class Silent:
        accepted = True

        async def receive(self) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    conversation = Conversation(server.service.streams, Silent(), None, "", opening_s=0.01)
    with pytest.raises(Exception, match="no open message came") as caught:
        await conversation.opening()
    assert (OPENING_S, close_code(caught.value)) == (10, 1008)


async def test_one_stream_too_many_is_told_to_try_later(serve: Serve):
    server = await serve(max_streams=1)
    first, second = await server.connect(), await server.connect()
    await first.open()
    told = await second.open()
    assert told["problem"]["type"] == "urn:yolov7-service:problem:overloaded"
    assert await second.rest() == ([], 1013)
    await first.end()
    assert (await (await server.connect()).open())["type"] == "opened"


def test_other_ends_have_their_codes():
    errors = [StreamTooSlow("x"), ModelNotReady("x"), ValueError(), asyncio.CancelledError()]
    assert [close_code(error) for error in errors] == [1008, 1013, 1011, 1001]


async def test_the_rate_of_a_client_drops_frames(serve: Serve, png: bytes):
    server = await serve(anonymous_rate="2/hour")
    caller = await server.connect()
    await caller.open(max_age_ms=60_000)
    for _ in range(3):
        await caller.say(png)
        told = await caller.hear()
    assert told == {"type": "dropped", "reason": "rate", "first": 2, "last": 2, "count": 1}


async def test_a_client_that_is_gone_leaves_nothing_behind(
    serve: Serve, engine_with_switch: Any, png: bytes, until: Any, sample: Any
):
    server = await serve(engine_with_switch)
    caller = await server.connect()
    await caller.open(max_age_ms=60_000)
    engine_with_switch.gate.clear()
    await caller.say(png)
    await until(lambda: sample(server.service, "requests_in_flight") == 1)
    caller.connection.transport.abort()
    await until(lambda: sample(server.service, "requests_in_flight") == 0)
    await until(lambda: not server.server.server_state.connections)
    engine_with_switch.gate.set()
    assert len(server.service.streams) == 0
    labels = {"transport": "websocket", "route": "/v1/stream", "code": "1006"}
    await until(lambda: sample(server.service, "requests_total", **labels) == 1)


async def test_a_client_that_shuts_its_half_is_gone(server: Any, until: Any):
    caller = await server.connect()
    await caller.open()
    before = len(server.service.streams)
    caller.connection.transport.write_eof()
    await until(lambda: len(server.service.streams) == before - 1)


async def test_who_does_not_read_is_cut_off_and_holds_little(serve: Serve, until: Any):
    server = await serve(bounds=Bounds(write_s=0.5))
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", server.port))
    caller = await server.connect(sock=narrow)
    await caller.open(delivery="every")
    caller.connection.transport.pause_reading()
    connections = server.server.server_state.connections
    held: list[int] = []

    async def flood() -> None:
        with suppress(ConnectionClosed):
            while True:
                await caller.connection.send(b"no picture")

    def gone() -> bool:
        held.extend(connection._socket.get_write_buffer_size() for connection in connections)
        return not connections

    flooding = asyncio.create_task(flood())
    await until(gone)
    flooding.cancel()
    assert 0 < max(held) < 1_000_000
    await until(lambda: len(server.service.streams) == 0)


async def test_a_drain_is_told_what_was_accepted_is_answered_and_1001_ends_it(
    serve: Serve, engine_with_switch: Any, png: bytes, until: Any
):
    server = await serve(engine_with_switch)
    idle, silent, busy = [await server.connect() for _ in range(3)]
    await idle.open()
    await busy.open(delivery="every")
    engine_with_switch.gate.clear()
    await busy.say(png)
    await until(lambda: any(len(stream._order) for stream in server.service.streams._open))
    server.service.draining = True
    server.service.streams.drain()
    server.server.should_exit = True
    assert await idle.rest() == ([{"type": "closing", "retry_after_s": 1.0}], 1001)
    assert await silent.rest() == ([{"type": "closing", "retry_after_s": 1.0}], 1001)
    assert (await busy.hear())["type"] == "closing"
    engine_with_switch.gate.set()
    (answer,), code = await busy.rest()
    assert (answer["type"], answer["sequence"], code) == ("result", 0, 1001)
    await server.running


async def test_a_drain_that_takes_too_long_ends_with_1001_as_well(
    serve: Serve, engine_with_switch: Any, png: bytes, until: Any, caplog: pytest.LogCaptureFixture
):
    server = await serve(engine_with_switch)
    server.server.config.timeout_graceful_shutdown = 1
    caller = await server.connect()
    await caller.open(delivery="every")
    engine_with_switch.gate.clear()
    await caller.say(png)
    await until(lambda: len(next(iter(server.service.streams._open))._order) == 1)
    server.server.should_exit = True
    documents, code = await caller.rest()
    engine_with_switch.gate.set()
    assert ([document["type"] for document in documents], code) == (["closing"], 1001)
    await server.running
    assert "Exception in ASGI" not in caplog.text
