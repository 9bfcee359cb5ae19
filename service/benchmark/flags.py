"""The flags of `yolov7-service bench`, and what values they take."""

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path

from service.flags import number, positive, whole

EPILOG = "What is measured, and how, is explained in docs/benchmark.md."


def add_arguments(parser: ArgumentParser) -> None:
    """All flags."""
    parser.epilog = EPILOG
    parser.add_argument("url", metavar="URL", help="where the service is, such as http://127.0.0.1:8000")
    _add_pictures(parser)
    _add_service(parser)
    _add_load(parser)
    _add_knee(parser)
    group = parser.add_argument_group("outputs")
    group.add_argument("--json", type=Path, metavar="FILE", help="everything, with the machine and the server's model")
    group.add_argument("--plot", type=_svg, metavar="FILE.svg", help="latency against answers a second")


def _add_pictures(parser: ArgumentParser) -> None:
    parser.add_argument(
        "pictures", type=Path, nargs="*", metavar="PICTURE|FOLDER", help="what to post (default: generated pictures)"
    )
    group = parser.add_argument_group("pictures")
    group.add_argument(
        "--size", type=_size, default="1280x720", metavar="WxH", help="of generated ones (default: %(default)s)"
    )
    group.add_argument("--cached", action="store_true", help="let the service answer from its cache")


def _add_service(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("service")
    group.add_argument("--model", help="its name (default: the service's)")
    group.add_argument("--model-version", metavar="VERSION", help="of the model (default: the current one)")
    group.add_argument(
        "--option",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="of POST /v1/detect, such as confidence=0.001; may be repeated",
    )
    group.add_argument("--key", help="API key")
    group.add_argument(
        "--key-file", type=Path, metavar="FILE", help="file with the API key, which then no process list shows"
    )
    group.add_argument("--ca", type=Path, metavar="FILE", help="PEM of the authority of its certificate, if not public")


def _add_load(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("load", "Lists such as 1,2,4,8 are one step each.")
    group.add_argument(
        "--clients",
        type=_wholes,
        metavar="N[,N...]",
        help="closed loop: each posts as soon as it is answered (default: 1,4)",
    )
    group.add_argument(
        "--rate",
        type=_rates,
        metavar="R[,R...]",
        help="open loop: requests a second, answered or not; --clients then bounds those in flight",
    )
    group.add_argument(
        "--seconds",
        type=_second_or_more,
        default=10.0,
        metavar="SECONDS",
        help="that each step is measured (default: %(default)g)",
    )
    group.add_argument(
        "--warm-up", type=_none_or_more, default=3.0, metavar="SECONDS", help="before, uncounted (default: %(default)g)"
    )
    group.add_argument(
        "--timeout", type=positive, default=30.0, metavar="SECONDS", help="of one request (default: %(default)g)"
    )


def _add_knee(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("knee")
    group.add_argument("--knee", action="store_true", help="find the largest rate that holds, instead of --clients")
    group.add_argument(
        "--slo-ms", type=positive, metavar="MS", help="p99 allowed (default: 5 times the median of one client alone)"
    )
    group.add_argument("--steps", type=whole, default=10, help="rates tried at most (default: %(default)s)")


def _second_or_more(text: str) -> float:
    value = positive(text)
    if value < 1:
        raise ArgumentTypeError(f"{text} is less than the second that k6 runs at least")
    return value


def _none_or_more(text: str) -> float:
    return 0.0 if number(text) == 0 else _second_or_more(text)


def _wholes(text: str) -> list[int]:
    return [whole(part) for part in text.split(",")]


def _rates(text: str) -> list[float]:
    rates = [positive(part) for part in text.split(",")]
    if min(rates) < 0.01:
        raise ArgumentTypeError(f"{text}: less than one request in 100 s is no load")
    return rates


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not all(side.isdecimal() and 16 <= int(side) <= 16384 for side in (width, height)):
        raise ArgumentTypeError(f"{text} is not WxH, such as 1280x720, of 16 to 16384 pixels")
    return int(width), int(height)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ArgumentTypeError(f"{text} is not NAME=VALUE")
    return name, value


def _svg(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".svg":
        raise ArgumentTypeError(f"{text}: an SVG is written, and its name ends in .svg")
    return path
