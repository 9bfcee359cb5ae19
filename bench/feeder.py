"""Cameras: a process that plays photos as N streams at a steady rate, delivery `latest`, and writes down what it sees.

    .venv/bin/python bench/feeder.py --port 50051 --streams 8 --fps 30 --seconds 60 --out cameras.json

played.py starts it and reads what it wrote. It is a process of its own, so that its work delays no reading of clocks
elsewhere, and it uses the library's own client, grpc.aio, each camera with a connection of its own.

A frame is due by an absolute schedule: camera c's frame n at ``start + phase(c) + n / fps``, whatever became of those
before, so that no error adds up. How late each was sent is written down. A camera does not wait: where the frames of a
whole interval could not be sent in time, because this process or the connection is too slow, they are skipped and
counted, and the newest is sent. Phases are drawn from a seed, as cameras know nothing of each other; ``together`` lets
all frames come at the same instant, the worst case, ``spread`` evenly, the best.
"""

import argparse
import asyncio
import gc
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import uvloop
from load import HOST
from photos import add_arguments, chosen, copies
from process import cpu_seconds

from service.streams.wire import detection_pb2 as pb
from service.streams.wire.detection_pb2_grpc import DetectionStub

SIZE = "768x432"
PHASES = ("random", "spread", "together")
_PHOTOS = 16  # of each camera
_LEAD_S = 0.5  # from the moment that all streams are open to the first frame
_LAST_S = 10.0  # for the answers that are still to come after the last frame
_COLUMNS = ("at", "age", "round_trip", "decode", "preprocess", "queue", "infer", "postprocess")


@dataclass
class Camera:
    """One stream. All times are in seconds, `answers` has a column for each name; `at` is since the start."""

    jpegs: list[bytes]
    phase: float
    fps: float
    sent: int = 0
    skipped: int = 0
    late: list[float] = field(default_factory=list)
    answers: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _COLUMNS})
    dropped: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    async def open(self, stub: DetectionStub, name: str) -> None:
        """Returns when the service has said that it is open."""
        self._call = stub.DetectStream()
        await self._call.write(pb.StreamRequest(open=pb.Open(name=name, latest=pb.Latest())))
        await self._call.read()

    async def play(self, start: float, seconds: float) -> None:
        """Send frames until the time is over, then wait for what is outstanding."""
        async with asyncio.timeout(_LEAD_S + seconds + _LAST_S), asyncio.TaskGroup() as group:
            group.create_task(self._read(start))
            group.create_task(self._send(start, seconds))

    async def _send(self, start: float, seconds: float) -> None:
        number = 0
        while (due := self.phase + number / self.fps) < seconds:
            if (wait_s := start + due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            # Whole intervals that have passed meanwhile.
            behind = int((time.perf_counter() - start - due) * self.fps)
            if behind:
                self.skipped += behind
                number += behind
            self.late.append(time.perf_counter() - start - self.phase - number / self.fps)
            image = pb.Image(encoded=self.jpegs[number % len(self.jpegs)])
            await self._call.write(pb.StreamRequest(frame=pb.Frame(sequence=number, image=image)))
            self.sent += 1
            number += 1
        await self._call.done_writing()

    async def _read(self, start: float) -> None:
        while (response := await self._call.read()) is not grpc.aio.EOF:
            match response.WhichOneof("message"):
                case "result":
                    self._note(response.result, time.perf_counter() - start)
                case "dropped":
                    self.dropped[pb.Dropped.Reason.Name(response.dropped.reason).lower()] += response.dropped.count
                case "error":
                    self.errors[response.error.kind] += 1
                case other:
                    self.errors[other] += 1

    def _note(self, result: pb.Result, at: float) -> None:
        due = self.phase + result.sequence / self.fps
        stages = [getattr(result.stages, name) for name in _COLUMNS[3:]]
        for column, value in zip(self.answers.values(), (at, result.age, at - due, *stages), strict=True):
            column.append(round(value, 6))


async def play(arguments: argparse.Namespace) -> list[Camera]:
    """All cameras, from opening to the last answer."""
    photos = copies(chosen(arguments), arguments.streams * _PHOTOS)
    cameras = [
        Camera(photos[number :: arguments.streams], phase, arguments.fps)
        for number, phase in enumerate(phases(arguments.phases, arguments.streams, arguments.fps))
    ]
    # Else connections to the same address are one.
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [grpc.aio.insecure_channel(f"{HOST}:{arguments.port}", options=options) for _ in cameras]
    names = (f"camera {number}" for number in range(len(cameras)))
    stubs = [DetectionStub(channel) for channel in channels]
    await asyncio.gather(*map(Camera.open, cameras, stubs, names))
    gc.collect()
    gc.freeze()
    start = time.perf_counter() + _LEAD_S
    await asyncio.gather(*(camera.play(start, arguments.seconds) for camera in cameras))
    await asyncio.gather(*(channel.close() for channel in channels))
    return cameras


def phases(kind: str, count: int, fps: float) -> list[float]:
    """When the first frame of each camera is due, within one interval."""
    if kind == "together":
        return [0.0] * count
    if kind == "spread":
        return [number / count / fps for number in range(count)]
    draw = random.Random(0)
    return [draw.random() / fps for _ in range(count)]


def main() -> None:
    """Play, and write down what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, size=SIZE)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--phases", choices=PHASES, default="random")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    before = cpu_seconds("self")
    cameras = uvloop.run(play(arguments))
    names = ("sent", "skipped", "late", "answers", "dropped", "errors")
    streams = [{name: getattr(camera, name) for name in names} for camera in cameras]
    arguments.out.write_text(json.dumps({"cpu_seconds": cpu_seconds("self") - before, "streams": streams}))


if __name__ == "__main__":
    main()
