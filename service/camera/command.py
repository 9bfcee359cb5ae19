"""The flags of `yolov7-service camera`, and the run that they ask for."""

import asyncio
import logging
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
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

EPILOG = "Sources, deliveries and outputs are explained in docs/camera.md."
# A file waits so long for a service that is away; a camera waits for ever.
GIVE_UP_S = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    """All flags."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source", metavar="SOURCE", help="rtsp://…, http://…, /dev/video0, a file, a folder, or - (stdin)"
    )
    _add_service(parser)
    _add_sending(parser)
    _add_reading(parser)
    _add_detecting(parser)
    _add_outputs(parser)


def _add_service(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("service")
    group.add_argument("--url", default="http://127.0.0.1:8000", help="where it is (default: %(default)s)")
    group.add_argument("--grpc", metavar="HOST:PORT", help="its gRPC port (default: the URL's host, port 50051)")
    group.add_argument("--key", help="API key")
    group.add_argument(
        "--key-file", type=Path, metavar="FILE", help="file with the API key, which then no process list shows"
    )
    group.add_argument("--ca", type=Path, metavar="FILE", help="PEM of the authority of its certificate, if not public")
    group.add_argument("--name", help="what the service's log calls the stream (default: host or file of the source)")


def _add_sending(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("sending")
    group.add_argument(
        "--delivery", choices=("latest", "every"), help="newest frame or each one (default: latest if live)"
    )
    group.add_argument("--max-age", type=_positive, metavar="SECONDS", help="with latest: drop frames older than this")
    group.add_argument("--fps", type=_positive, help="send at most so many frames a second of the source")
    group.add_argument("--max-side", type=_whole, metavar="PIXELS", help="make frames smaller before they are sent")
    group.add_argument("--quality", type=_quality, default=90, help="of the JPEGs that are sent (default: %(default)s)")
    group.add_argument("--raw", action="store_true", help="send bare pixels: large, for a service on the same host")
    group.add_argument(
        "--give-up",
        type=_positive,
        metavar="SECONDS",
        help="end when source or service is away for so long (default: never for live sources, else 60)",
    )


def _add_reading(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("reading")
    group.add_argument(
        "--live",
        action=BooleanOptionalAction,
        help="whether the source goes on by itself, where it is not plain to see",
    )
    group.add_argument("--rtsp-transport", choices=("tcp", "udp"), default="tcp", help="(default: %(default)s)")
    group.add_argument("--open-timeout", type=_positive, default=10.0, metavar="SECONDS", help="(default: %(default)g)")
    group.add_argument(
        "--read-timeout",
        type=_positive,
        default=10.0,
        metavar="SECONDS",
        help="a camera that is silent for so long is lost (default: %(default)g)",
    )
    group.add_argument("--format", help="libav's name of the format, where it does not find it out")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="of libav's, such as video_size=1280x720 for /dev/video0; may be repeated",
    )


def _add_detecting(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("detecting", "What is not given is as the service has it.")
    group.add_argument("--model")
    group.add_argument("--model-version", metavar="VERSION")
    group.add_argument("--confidence", type=float)
    group.add_argument("--iou", type=float)
    group.add_argument("--classes", action="append", default=[], help="names or ids, comma-separated or repeated")
    group.add_argument("--max-detections", type=_whole, metavar="COUNT")
    group.add_argument("--class-agnostic", action="store_true")
    group.add_argument("--class-confidence", action="append", default=[], type=_class_confidence, metavar="CLASS:SCORE")


def _add_outputs(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("outputs")
    group.add_argument("--jsonl", metavar="FILE", help="a line for each outcome; - is standard output")
    group.add_argument("--mp4", type=Path, metavar="FILE", help="annotated video of the frames that were answered")
    group.add_argument("--coco", type=Path, metavar="FILE", help="COCO results")
    group.add_argument("--coco-images", type=Path, metavar="FILE", help="which picture each image_id of --coco is")
    group.add_argument("--out", type=Path, metavar="FOLDER", help="annotated pictures")


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
    try:
        Address.of(arguments.url, grpc=arguments.grpc)
    except ValueError as exc:
        sys.exit(f"yolov7-service: {exc}")
    key = arguments.key_file.read_text().strip() if arguments.key_file is not None else arguments.key
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


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text} is not above zero")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f"{text} is not above zero")
    return value


def _quality(text: str) -> int:
    value = _whole(text)
    if value > 100:
        raise ArgumentTypeError(f"{text} is above 100")
    return value


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value


def _class_confidence(text: str) -> tuple[str, float]:
    name, colon, value = text.rpartition(":")
    if not colon:
        raise ArgumentTypeError(f"{text} is not CLASS:SCORE, such as Car:0.4")
    return name, float(value)
