"""One stream from its opening to its end, with the real engine."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.app import Service
from service.errors import InvalidOption, StreamTooSlow
from service.live import Answered, Closing, Every, Failed, Latest, Stream

pytestmark = pytest.mark.anyio

Camera = Any
MakeService = Callable[..., Awaitable[Service]]
Running = Callable[..., Any]
StreamOnce = Callable[..., Awaitable[Stream]]
Until = Callable[..., Awaitable[None]]
Sample = Callable[..., float]


def at_rest(service: Service) -> bool:
    """Whether no frame of any stream, nor anything else, is under way or holds a place."""
    return not service.metrics.registry.get_sample_value("yolov7_requests_in_flight") and not len(service.streams)


@pytest.mark.parametrize("delivery", [Latest(60.0), Every(4)])
async def test_a_frame_is_answered_as_a_picture_is(
    service: Service, camera: Camera, stream_once: StreamOnce, delivery: Latest | Every
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
    assert at_rest(service)
