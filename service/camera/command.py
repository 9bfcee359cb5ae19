"""The run that the flags of `yolov7-service camera` ask for."""

import asyncio
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from service.camera.annotated import AnnotatedPictures
from service.camera.capture import CaptureOptions
from service.camera.coco import Coco
from service.camera.folder import Folder
from service.camera.jsonl import JsonLines
from service.camera.mp4 import Mp4
from service.camera.outputs import Output
from service.camera.run import Ending, Run, Service
from service.camera.sending import Sending
from service.camera.source import Source, SourceError
from service.camera.video import VideoOptions
from service.client.address import Address
from service.client.options import DetectOptions
from service.client.web import authorisation

# A file waits so long for a service that is away; a camera waits for ever.
GIVE_UP_S = 60.0


def run(arguments: Namespace) -> None:
    """Watches until the source ends or a signal comes. Exits with one line where that is no success."""
    console = Console(stderr=arguments.jsonl == "-", highlight=False)
    _log_to(console)
    try:
        ending = asyncio.run(_run(arguments, console))
    except (SourceError, OSError) as exc:
        ending = Ending(1, str(exc))
    if ending.error is not None:
        print(f"yolov7-service: {ending.error}", file=sys.stderr)  # noqa: T201 - what a command says
    if arguments.jsonl == "-":
        _let_go_of_stdout()
    if ending.code:
        sys.exit(ending.code)


async def _run(arguments: Namespace, console: Console) -> Ending:
    source = Source.of(arguments.source, live=arguments.live)
    service = _service(arguments)
    sending = _sending(arguments, source)
    capturing = CaptureOptions(
        video=VideoOptions(
            rtsp_transport=arguments.rtsp_transport,
            open_timeout_s=arguments.open_timeout,
            read_timeout_s=arguments.read_timeout,
            format=arguments.format,
            options=dict(arguments.option),
        ),
        fps=arguments.fps,
        # The newest frame of a file that is read as fast as possible would be its last.
        played=sending.delivery == "latest" and source.kind == "file",
        give_up_s=arguments.give_up,
    )
    run = Run(
        source,
        service,
        lambda: _outputs(arguments, source),
        capturing=capturing,
        sending=sending,
        console=console,
    )
    return await run.run()


def _sending(arguments: Namespace, source: Source) -> Sending:
    return Sending(
        delivery=arguments.delivery or ("latest" if source.live else "every"),
        options=_options(arguments),
        name=arguments.name or source.short_name,
        max_age_s=arguments.max_age,
        jpeg_quality=None if arguments.raw else arguments.quality,
        max_side=arguments.max_side,
        keeps_pictures=arguments.mp4 is not None or arguments.out is not None,
        give_up_s=arguments.give_up or (None if source.live else GIVE_UP_S),
    )


def _options(arguments: Namespace) -> DetectOptions:
    classes = [name.strip() for given in arguments.classes for name in given.split(",")]
    return DetectOptions(
        model=arguments.model,
        version=arguments.model_version,
        confidence=arguments.confidence,
        iou=arguments.iou,
        classes=[name for name in classes if name],
        max_detections=arguments.max_detections,
        class_agnostic=arguments.class_agnostic,
        class_confidence=dict(arguments.class_confidence),
    )


def _outputs(arguments: Namespace, source: Source) -> Sequence[Output]:
    outputs: list[Output] = []
    if arguments.jsonl:
        outputs.append(JsonLines(None if arguments.jsonl == "-" else Path(arguments.jsonl)))
    if arguments.mp4:
        outputs.append(Mp4(arguments.mp4))
    if arguments.coco or arguments.coco_images:
        numbered = source.kind in ("folder", "picture") and Folder(source).numbered
        outputs.append(Coco(arguments.coco, arguments.coco_images, numbered=numbered))
    if arguments.out:
        outputs.append(AnnotatedPictures(arguments.out))
    return outputs


def _service(arguments: Namespace) -> Service:
    key = arguments.key
    if arguments.key_file is not None:
        key = arguments.key_file.read_text(errors="replace").strip()
    try:
        Address.of(arguments.url, grpc=arguments.grpc, ca=arguments.ca)
        authorisation(key)
    except ValueError as exc:
        sys.exit(f"yolov7-service: {exc}")
    return Service(arguments.url, arguments.grpc, key, arguments.ca)


def _log_to(console: Console) -> None:
    handler: logging.Handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if console.is_terminal:
        # Above the panel instead of through it.
        handler = RichHandler(console=console, show_path=False, omit_repeated_times=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("service.camera").setLevel(logging.INFO)


def _let_go_of_stdout() -> None:
    """Where its reader has left, the interpreter would complain of what it cannot flush at the end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
