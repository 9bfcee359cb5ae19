"""A run inside another program, which may cancel it."""

import asyncio
import io
import threading

import pytest
from rich.console import Console

from service.camera.capture import CaptureOptions
from service.camera.run import Run, Service
from service.camera.sending import Sending
from service.camera.source import Source
from service.camera.video import VideoOptions

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("one_loop")]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "yolov7-capture"]


async def test_a_run_that_is_cancelled_ends(until):
    run = Run(
        Source.of("rtsp://127.0.0.1:1/live"),
        Service("http://127.0.0.1:1", "127.0.0.1:1"),
        list,
        capturing=CaptureOptions(VideoOptions()),
        sending=Sending("latest", {}),
        console=Console(file=io.StringIO()),
    )
    before = asyncio.all_tasks()
    running = asyncio.create_task(run.run())
    await until(lambda: bool(readers()))
    running.cancel()
    await asyncio.wait({running}, timeout=20)
    assert running.cancelled()
    assert not readers()
    await until(lambda: asyncio.all_tasks() <= before)
