"""The flags of `yolov7-service camera`, and what values they take."""

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from pathlib import Path

from service.flags import number, positive, whole

EPILOG = "Sources, deliveries and outputs are explained in docs/camera.md."


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
        "--delivery", choices=("latest", "every"), help="newest frame or each one (default: latest if live, else every)"
    )
    group.add_argument(
        "--max-age", type=positive, metavar="SECONDS", help="with latest: drop frames older than this (default: 1)"
    )
    group.add_argument("--fps", type=positive, help="send at most so many frames a second (default: all)")
    group.add_argument("--max-side", type=whole, metavar="PIXELS", help="make frames smaller first (default: no)")
    group.add_argument(
        "--quality", type=_quality, default=90, help="1 to 100, of the JPEGs sent (default: %(default)s)"
    )
    group.add_argument("--raw", action="store_true", help="send bare pixels: large, for a service on the same host")
    group.add_argument(
        "--give-up",
        type=positive,
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
    group.add_argument(
        "--rtsp-transport", choices=("tcp", "udp"), default="tcp", help="what RTSP comes over (default: tcp)"
    )
    group.add_argument(
        "--open-timeout",
        type=positive,
        default=10.0,
        metavar="SECONDS",
        help="for the source to open (default: %(default)g)",
    )
    group.add_argument(
        "--read-timeout",
        type=positive,
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
    group.add_argument("--model", help="its name")
    group.add_argument("--model-version", metavar="VERSION", help="of the model")
    group.add_argument("--confidence", type=float, help="0.001 to 1: leave out detections below")
    group.add_argument("--iou", type=float, help="0 to 1: of two boxes that overlap more, the better stays")
    group.add_argument("--classes", action="append", default=[], help="names or ids, comma-separated or repeated")
    group.add_argument("--max-detections", type=whole, metavar="COUNT", help="most of a frame, up to 1000")
    group.add_argument("--class-agnostic", action="store_true", help="boxes of different classes suppress each other")
    group.add_argument(
        "--class-confidence",
        action="append",
        default=[],
        type=_class_confidence,
        metavar="CLASS:SCORE",
        help="a confidence of its own for a class, such as Car:0.4; may be repeated",
    )


def _add_outputs(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("outputs")
    group.add_argument("--jsonl", metavar="FILE", help="a line for each outcome; - is standard output")
    group.add_argument("--mp4", type=Path, metavar="FILE", help="annotated video of the frames that were answered")
    group.add_argument("--coco", type=Path, metavar="FILE", help="COCO results")
    group.add_argument("--coco-images", type=Path, metavar="FILE", help="which picture each image_id of --coco is")
    group.add_argument("--out", type=Path, metavar="FOLDER", help="annotated pictures")


def _quality(text: str) -> int:
    value = whole(text)
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
    return name, number(value)
