"""The stream to the service, where it does not go as it should."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest

from service.camera.backoff import Backoff
from service.camera.events import Answered, Dropped, Event, Failed, Notice
from service.camera.handover import Handover
from service.camera.sending import Sender, Sending
from service.camera.shot import FilePicture, Shot
from service.client import AsyncClient, ConnectionFailed, Retries, ServiceUnavailable, TimedOut
from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionServicer, add_DetectionServicer_to_server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]

Answer = Callable[[Any, int], AsyncIterator[pb.StreamResponse]]


class Scripted(DetectionServicer):
    """A real gRPC server that does as it is told: `answer` is given the call's messages and the number of the call."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._calls = 0

    async def DetectStream(self, requests: Any, context: Any) -> AsyncIterator[pb.StreamResponse]:
        self._calls += 1
        assert (await anext(requests)).HasField("open")
        yield pb.StreamResponse(opened=pb.Opened(credits=4))
        async for response in self._answer(requests, self._calls):
            yield response


def result(sequence: int) -> pb.StreamResponse:
    return pb.StreamResponse(result=pb.Result(sequence=sequence, width=10, height=10))


@pytest.fixture
async def send() -> AsyncIterator[Callable[..., Any]]:
    """Sends three frames to a scripted server: (answer, idle_s=, how) -> what was told, and what it ended in."""
    servers: list[grpc.aio.Server] = []

    async def send(answer: Answer, idle_s: float = 0.0, **how: Any) -> tuple[list[Event], Exception | None]:
        server = grpc.aio.server()
        add_DetectionServicer_to_server(Scripted(answer), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        handover, told = Handover(newest=False), []
        for number in range(3):
            handover.put(Shot(number, str(number), 0.0, None, 0.0, None, FilePicture(b"\xff\xd8\xff")))
        handover.finish()

        async def emit(event: Event) -> None:
            told.append(event)

        async with AsyncClient("http://127.0.0.1:1", grpc=f"127.0.0.1:{port}", retries=Retries(0)) as client:
            sending = Sending(**{"delivery": "every", "options": {}} | how)
            sender = Sender(client, handover, emit, sending=sending, backoff=Backoff(first_s=0.01))
            await asyncio.sleep(idle_s)
            try:
                async with asyncio.timeout(30):
                    await sender.run()
            except (TimedOut, ServiceUnavailable, ConnectionFailed) as error:
                return told, error
        return told, None

    yield send
    for server in servers:
        await server.stop(0)


def sequences(told: list[Event]) -> list[int]:
    return [event.shot.sequence for event in told if isinstance(event, Answered | Failed)]


async def all_of(requests: Any, call: int) -> AsyncIterator[pb.StreamResponse]:
    async for request in requests:
        yield result(request.frame.sequence)


async def silent_at_first(requests: Any, call: int) -> AsyncIterator[pb.StreamResponse]:
    yield result((await anext(requests)).frame.sequence)
    if call == 1:
        await asyncio.Event().wait()
    async for response in all_of(requests, call):
        yield response


async def closing_at_first(requests: Any, call: int) -> AsyncIterator[pb.StreamResponse]:
    yield result((await anext(requests)).frame.sequence)
    if call == 1:
        yield pb.StreamResponse(closing=pb.Closing(retry_after=0.01))
        return
    async for response in all_of(requests, call):
        yield response


async def test_what_is_sent_is_answered(send: Callable[..., Any]):
    told, error = await send(all_of)
    assert error is None
    assert sequences(told) == [0, 1, 2]
    assert [event.state for event in told if isinstance(event, Notice)] == ["open"]


@pytest.mark.parametrize("answer", [silent_at_first, closing_at_first])
async def test_frames_that_a_lost_stream_did_not_answer_are_sent_again(send: Callable[..., Any], answer: Answer):
    told, error = await send(answer, silence_s=0.2)
    assert error is None
    assert sequences(told) == [0, 1, 2]
    assert [event.state for event in told if isinstance(event, Notice)] == ["open", "lost", "open"]


async def test_where_the_newest_is_wanted_they_are_told_as_lost(send: Callable[..., Any]):
    told, error = await send(silent_at_first, silence_s=0.2, delivery="latest")
    assert error is None
    assert sequences(told) == [0]
    lost = [event for event in told if isinstance(event, Dropped)]
    assert sum(event.count for event in lost) == 2
    assert lost[-1].last == 2


async def test_an_answer_to_a_frame_that_was_not_sent_is_a_failure_of_the_service(send: Callable[..., Any]):
    async def of_another(requests: Any, call: int) -> AsyncIterator[pb.StreamResponse]:
        if call == 1:
            await anext(requests)
            yield result(99)
        async for response in all_of(requests, call):
            yield response

    told, error = await send(of_another)
    assert error is None
    lost = [event.detail for event in told if isinstance(event, Notice) and event.state == "lost"]
    assert lost == ["the service answered frame 99, which was not on its way"]


async def test_a_service_that_had_nothing_to_answer_for_long_is_not_given_up_at_its_first_loss(
    send: Callable[..., Any],
):
    async def away_at_first(requests: Any, call: int) -> AsyncIterator[pb.StreamResponse]:
        if call == 1:
            yield pb.StreamResponse(closing=pb.Closing(retry_after=0.01))
            return
        async for response in all_of(requests, call):
            yield response

    told, error = await send(away_at_first, idle_s=2.2, give_up_s=2.0)
    assert error is None
    assert sequences(told) == [0, 1, 2]


async def test_a_service_that_stays_away_is_given_up(send: Callable[..., Any]):
    async def never(requests: Any, call: int) -> AsyncIterator[pb.StreamResponse]:
        yield pb.StreamResponse(closing=pb.Closing(retry_after=0.01))

    _, error = await send(never, give_up_s=0.1)
    # By how far a frame has come when the stream ends, it is the one or the other.
    assert isinstance(error, ServiceUnavailable | ConnectionFailed)


async def test_a_picture_that_must_be_decoded_and_cannot_be_fails_without_being_sent(send: Callable[..., Any]):
    told, error = await send(all_of, max_side=10)
    assert error is None
    assert [type(event) for event in told] == [Failed] * 3
    assert told[0].name == "undecodable-image"
