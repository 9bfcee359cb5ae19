"""A whole conversation: what is opened, what frames become, in which order, and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

Serve = Callable[..., Awaitable[Any]]


async def test_what_is_in_force_is_told_first(server: Any):
    caller = await server.connect()
    assert await caller.open() == {
        "type": "opened",
        "model": {"name": "blocks", "version": "1"},
        "class_names": ["red", "green", "blue"],
        "delivery": "latest",
        "max_age_ms": 1000.0,
        "credits": None,
    }


async def test_more_than_the_service_gives_is_cut_down(serve: Serve):
    server = await serve(stream_credits=5, max_request_timeout_ms=2000)
    every = await (await server.connect()).open(delivery="every", credits=100)
    assert (every["delivery"], every["credits"], every["max_age_ms"]) == ("every", 5, None)
    fewer = await (await server.connect()).open(delivery="every", credits=2)
    assert fewer["credits"] == 2
    patient = await (await server.connect()).open(max_age_ms=60_000)
    assert patient["max_age_ms"] == 2000


async def test_a_frame_is_answered_as_a_post_is(server: Any, png: bytes):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        posted = (await client.post("/v1/detect", content=png, headers={"content-type": "image/png"})).json()
    caller = await server.connect()
    await caller.open(max_age_ms=20_000)
    await caller.say(png)
    result = await caller.hear()
    assert posted["detections"]
    for field in ("detections", "model", "image"):
        assert result[field] == posted[field]
    assert set(result) == {
        "type", "sequence", "captured_at", "model", "image", "detections", "age_ms", "timings_ms"
    }  # fmt: skip
    assert (result["type"], result["sequence"], result["captured_at"]) == ("result", 0, None)
    assert result["age_ms"] >= result["timings_ms"]["infer"] > 0


async def test_every_frame_is_answered_once_and_in_order(server: Any, png: bytes):
    caller = await server.connect()
    opened = await caller.open(delivery="every", credits=4)
    answers = []
    for sent in range(20):
        if sent >= opened["credits"]:
            answers.append(await caller.hear())
        await caller.say(png)
    rest, code = await caller.end()
    assert [(answer["type"], answer["sequence"]) for answer in answers + rest] == [("result", n) for n in range(20)]
    assert code == 1000


async def test_a_frame_message_names_the_frame_and_numbering_goes_on_from_there(server: Any, png: bytes):
    caller = await server.connect()
    await caller.open(delivery="every")
    await caller.say({"type": "frame", "sequence": 7, "captured_at": 1700000000.1})
    await caller.say(png)
    await caller.say(png)
    answers, _ = await caller.end()
    assert [(answer["sequence"], answer["captured_at"]) for answer in answers] == [(7, 1700000000.1), (8, None)]


@pytest.mark.parametrize("kind", ["rgb", "bgr"])
async def test_bare_pixels_are_seen_as_a_file_is(server: Any, png: bytes, picture: Any, kind: str):
    caller = await server.connect()
    await caller.open(delivery="every")
    await caller.say(png)
    await caller.say({"type": "frame", "format": kind, "width": 128, "height": 128})
    await caller.say((picture if kind == "rgb" else picture[..., ::-1]).tobytes())
    answers, _ = await caller.end()
    assert answers[0]["detections"] == answers[1]["detections"] != []


async def test_bad_frames_are_errors_of_their_own_and_the_stream_goes_on(server: Any, png: bytes):
    caller = await server.connect()
    await caller.open(delivery="every")
    await caller.say(b"no picture")
    await caller.say({"type": "frame", "sequence": 5, "format": "grey", "width": 9, "height": 9})
    await caller.say(bytes(80))
    await caller.say(png)
    await caller.say({"type": "frame", "sequence": 6})
    await caller.say(png)
    answers, code = await caller.end()
    told = [(answer["type"], answer["sequence"], answer.get("problem", {}).get("status")) for answer in answers]
    assert told == [("error", 0, 415), ("error", 5, 422), ("result", 6, None), ("error", 6, 422)]
    assert answers[0]["problem"]["type"] == "urn:yolov7-service:problem:unsupported-image"
    assert code == 1000


async def test_options_are_those_of_a_post(server: Any, png: bytes):
    caller = await server.connect()
    options = {"classes": ["red", 2], "class_confidence": {"blue": 0.9}, "max_detections": 10, "iou": 0.3}
    await caller.open(options=options, delivery="every", name="door")
    await caller.say(png)
    (answer,), _ = await caller.end()
    assert [found["label"] for found in answer["detections"]] == ["red"]


async def test_a_whole_number_is_taken_where_any_is(server: Any, png: bytes):
    caller = await server.connect()
    opened = await caller.open(options={"confidence": 1, "iou": 0, "class_confidence": {"red": 1}}, max_age_ms=60_000)
    assert opened["type"] == "opened"
    await caller.say({"type": "frame", "captured_at": 1700000000})
    await caller.say(png)
    assert (await caller.hear())["captured_at"] == 1700000000


async def test_options_change_for_the_frames_that_follow(server: Any, png: bytes):
    caller = await server.connect()
    await caller.open(delivery="every", options={"model": "blocks", "classes": ["red"]})
    for options in (None, {"classes": ["blue"]}, {}, {"model": "blocks", "confidence": 0.9}):
        if options is not None:
            await caller.say({"type": "options", "options": options})
        await caller.say(png)
    answers, _ = await caller.end()
    found = [[one["label"] for one in answer["detections"]] for answer in answers]
    assert found == [["red"], ["blue"], ["red", "blue"], ["red"]]


async def test_the_newest_frame_wins(serve: Serve, engine_with_switch: Any, png: bytes, until: Any):
    server = await serve(engine_with_switch)
    caller = await server.connect()
    await caller.open(max_age_ms=60_000)
    engine_with_switch.gate.clear()
    batches = engine_with_switch.batches
    await caller.say(png)
    await until(lambda: engine_with_switch.batches > batches)
    for _ in range(30):
        await caller.say(png)
    ended = asyncio.create_task(caller.end())
    await until(lambda: server.service.streams._open.copy().pop()._read_all)
    engine_with_switch.gate.set()
    answers, code = await ended
    numbers = []
    for answer in answers:
        first = answer.get("first", answer.get("sequence"))
        numbers += range(first, answer.get("last", first) + 1)
    assert numbers == list(range(31))
    assert answers[-1]["type"] == "result"
    assert "replaced" in {answer.get("reason") for answer in answers}
    assert code == 1000


async def test_frames_beyond_the_credits_wait_in_the_socket(
    serve: Serve, engine_with_switch: Any, png: bytes, until: Any
):
    server = await serve(engine_with_switch)
    caller = await server.connect()
    await caller.open(delivery="every", credits=2)
    engine_with_switch.gate.clear()

    async def send_all() -> None:
        for picture in [png] * 2 + [bytes(1_000_000)] * 40:
            await caller.connection.send(picture)

    sending = asyncio.create_task(send_all())
    (connection,) = server.server.server_state.connections
    await until(lambda: connection.read_paused and caller.connection.transport.get_write_buffer_size() > 0)
    assert connection.queue.qsize() <= 1
    assert not sending.done()
    engine_with_switch.gate.set()
    answers = [await caller.hear() for _ in range(42)]
    await sending
    assert [answer["sequence"] for answer in answers] == list(range(42))


async def test_the_subprotocol_and_the_request_id_come_back(server: Any):
    headers = {"X-Request-ID": "door-17"}
    caller = await server.connect(subprotocols=["other", "yolov7.v1"], additional_headers=headers)
    assert caller.connection.subprotocol == "yolov7.v1"
    assert caller.connection.response.headers["x-request-id"] == "door-17"
    assert (await server.connect()).connection.subprotocol is None


async def test_each_connection_is_counted_once_by_its_end(serve: Serve, sample: Any, png: bytes, until: Any):
    server = await serve()
    caller = await server.connect()
    await caller.open()
    labels = {"transport": "websocket", "route": "/v1/stream", "code": "1000"}
    assert sample(server.service, "requests_total", **labels) == 0
    await caller.end()
    await until(lambda: sample(server.service, "requests_total", **labels) == 1)
    assert sample(server.service, "streams_open", transport="websocket") == 0
