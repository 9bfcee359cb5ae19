"""What opens a stream, what keeps one out, and how all of them end."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from service.app import Service
from service.errors import Draining, InvalidOption, Overloaded, UnknownModel
from service.live import Delivery, Every, Latest, Streams

pytestmark = pytest.mark.anyio

Want = Callable[..., Any]
Limited = Callable[..., Streams]
Sample = Callable[..., float]


@pytest.mark.parametrize(
    ("asked", "given"),
    [(Latest(0.5), Latest(0.5)), (Latest(float("inf")), Latest(5.0)), (Every(3), Every(3)), (Every(10**9), Every(8))],
)
async def test_what_is_asked_for_is_given_within_the_limits(
    service: Service, want: Want, limited: Limited, asked: Delivery, given: Delivery
):
    with limited(service, credits=8, max_age_s=5.0).open(want(asked)) as stream:
        assert stream.delivery == given
        assert stream.served.model.name == "blocks"


@pytest.mark.parametrize("asked", [Latest(0.0), Latest(-1.0), Latest(float("nan")), Every(0), Every(-3)])
async def test_no_time_and_no_credits_are_refused(service: Service, want: Want, asked: Delivery):
    with pytest.raises(InvalidOption, match="must be"), service.streams.open(want(asked)):
        pass


@pytest.mark.parametrize("name", ["a" * 101, "two\nlines", "\x1b[31m"])
async def test_a_name_is_short_and_printable(service: Service, want: Want, name: str):
    with pytest.raises(InvalidOption, match="printable"), service.streams.open(want(name=name)):
        pass


async def test_options_are_checked_at_the_opening(service: Service, want: Want):
    with pytest.raises(InvalidOption, match="no class"), service.streams.open(want(classes=("purple",))):
        pass
    with pytest.raises(UnknownModel), service.streams.open(want(model="other")):
        pass
    assert len(service.streams) == 0


async def test_no_more_are_open_than_may_be(service: Service, want: Want, limited: Limited, sample: Sample):
    streams = limited(service, max_streams=2)
    refused = sample(service, "rejected_total", reason="streams")
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(streams.open(want()))
        assert sample(service, "streams_open", transport="grpc") == 2
        with pytest.raises(Overloaded, match="2 streams"):
            stack.enter_context(streams.open(want()))
    assert sample(service, "rejected_total", reason="streams") == refused + 1
    with streams.open(want()):
        assert len(streams) == 1


async def test_a_drain_lets_none_in(service: Service, want: Want, limited: Limited):
    streams = limited(service)
    streams.drain()
    with pytest.raises(Draining), streams.open(want()):
        pass
    await streams.closed()


async def test_the_log_tells_of_its_beginning_and_its_end(
    service: Service, camera: Any, stream_once: Callable[..., Any], caplog: pytest.LogCaptureFixture, sample: Sample
):
    before = sample(service, "frames_total", transport="grpc", outcome="answered")
    camera.shoot(1)
    camera.shoot(2, picture=b"torn")
    camera.leave()
    with caplog.at_level(logging.INFO, "service.live"):
        await stream_once(service, camera, Every(2), name="gate 4")
    opened, ended = caplog.records
    assert (opened.stream, opened.key, opened.transport) == ("gate 4", "camera", "grpc")
    assert (ended.stream, ended.frames, ended.duration_ms > 0) == ("gate 4", {"answered": 1, "failed": 1}, True)
    assert "gate 4 ended" in ended.getMessage()
    assert sample(service, "frames_total", transport="grpc", outcome="answered") == before + 1
