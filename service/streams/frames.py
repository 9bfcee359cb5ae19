"""What a client sends on a stream: first how it is to be opened, then frames.

Nothing is read ahead: a message that nobody waits for stays with the transport, which stops the sender when a window is
full. A picture that cannot be had becomes a frame as well, which fails when its turn comes.
"""

import asyncio
import time

import grpc.aio

from service.errors import DeadlineExceeded, ImageError, MalformedRequest, ServiceError
from service.live import Frame
from service.streams.call import Call
from service.streams.messages import Unreadable, read_picture
from service.streams.wire import detection_pb2 as pb


async def read_open(call: Call, *, timeout_s: float) -> pb.Open:
    """The first message. Raises DeadlineExceeded where it does not come, MalformedRequest where it is another one."""
    try:
        async with asyncio.timeout(timeout_s):
            message = await call.read()
    except TimeoutError:
        raise DeadlineExceeded(f"nothing came within {timeout_s:g} s; a stream begins with `open`") from None
    if message is grpc.aio.EOF or message.WhichOneof("message") != "open":
        raise MalformedRequest("the first message of a stream must be `open`")
    opening: pb.Open = message.open
    return opening


class Frames:
    """The frames that follow, until the client's side ends. One reader at a time.

    Raises MalformedRequest for a message that is no frame.
    """

    def __init__(self, call: Call, *, max_bytes: int) -> None:
        self._call = call
        self._max_bytes = max_bytes

    def __aiter__(self) -> "Frames":
        return self

    async def __anext__(self) -> Frame:
        message = await self._call.read()
        received_at = time.monotonic()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        if message.WhichOneof("message") != "frame":
            raise MalformedRequest("after `open` a stream takes frames, and nothing else")
        frame = message.frame
        try:
            picture = read_picture(frame.image, max_bytes=self._max_bytes)
        except (ServiceError, ImageError) as error:
            picture = Unreadable(error)
        captured_at = frame.captured_at if frame.HasField("captured_at") else None
        return Frame(frame.sequence, picture, received_at, captured_at)
