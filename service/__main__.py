"""The command `yolov7-service`.

Each command is imported only when it is called: `camera` runs where nothing of the server is installed.
"""

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from service.errors import ServiceError


def main() -> None:
    """Runs the command line; ends with one line on standard error when it fails."""
    arguments = parser().parse_args()
    try:
        arguments.run(arguments)
    except (ServiceError, OSError) as exc:
        sys.exit(f"yolov7-service: {exc}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


class CommandParser(ArgumentParser):
    """The parser of one command, which `fill` gives its flags once the command line has come to it."""

    def __init__(self, *, fill: Callable[[ArgumentParser], None], **given: Any) -> None:
        super().__init__(**given)
        self._fill: Callable[[ArgumentParser], None] | None = fill

    def parse_known_args(  # type: ignore[override] # of the overloads, the one that subparsers call
        self, args: Sequence[str] | None = None, namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        """As ArgumentParser's."""
        if self._fill is not None:
            self._fill(self)
            self._fill = None
        return super().parse_known_args(args, namespace)


def parser() -> ArgumentParser:
    """The command line; what of it each command takes is filled in when that is called."""
    parser = ArgumentParser(prog="yolov7-service", description="Object detection as a networked service.")
    parser.add_argument("--version", action="version", version=version("yolov7-service"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=CommandParser)
    commands.add_parser(
        "serve", fill=_fill_serve, help="start the service", description="Serves until SIGTERM or Ctrl-C."
    )
    commands.add_parser(
        "camera",
        fill=_fill_camera,
        help="send a camera, a video or pictures through the service",
        description="Sends a camera, a video or pictures through the service, shows and writes what it answers.",
    )
    commands.add_parser(
        "bench",
        fill=_fill_bench,
        help="measure how fast a running service answers",
        description="Measures a running service from outside, by Grafana k6: latency, throughput, the knee.",
    )
    commands.add_parser(
        "detect",
        fill=_fill_detect,
        help="detect objects in one photo, without a server",
        description="Prints what it finds in one photo and writes the annotated picture.",
    )
    commands.add_parser(
        "health",
        fill=_fill_health,
        help="ask a running service whether it is ready",
        description="Exits with 0 if the service has found the known boxes of its known images, else with 1.",
    )
    commands.add_parser(
        "key",
        fill=_fill_key,
        help="make an API key",
        description="Prints a new token, and below it the entry of the keys file (--keys-file) that makes it valid.",
    )
    return parser


def _fill_serve(parser: ArgumentParser) -> None:
    from service.app import serve  # noqa: PLC0415
    from service.settings import Settings, add_flags, given_flags  # noqa: PLC0415

    # Fifty flags would bury the line that says which one is wrong.
    parser.usage = "%(prog)s [-h] [--SETTING VALUE ...]"
    add_flags(parser)
    parser.set_defaults(run=lambda arguments: serve(Settings.load(given_flags(arguments))))


def _fill_camera(parser: ArgumentParser) -> None:
    from service.camera import command, flags  # noqa: PLC0415

    flags.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _fill_bench(parser: ArgumentParser) -> None:
    from service.benchmark import command, flags  # noqa: PLC0415

    flags.add_arguments(parser)
    parser.set_defaults(run=command.run)


def _fill_detect(parser: ArgumentParser) -> None:
    from service.app import photo  # noqa: PLC0415

    photo.add_arguments(parser)
    parser.set_defaults(run=photo.run)


def _fill_health(parser: ArgumentParser) -> None:
    from service import probe  # noqa: PLC0415

    probe.add_arguments(parser)
    parser.set_defaults(run=probe.run)


def _fill_key(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="what logs call it: letters, digits, dots, dashes, underscores")
    parser.add_argument("--rights", default="detect", help="detect, admin or both, comma-separated (default: detect)")
    parser.add_argument(
        "--rate", help="most requests in a time, such as 20/second or 600/minute (default: the service's setting rate)"
    )
    parser.set_defaults(run=_print_key)


def _print_key(arguments: Namespace) -> None:
    from service.access import new_key  # noqa: PLC0415

    rights = [right.strip() for right in arguments.rights.split(",")]
    token, entry = new_key(arguments.name, rights, arguments.rate)
    print(f"{token}\n\n{entry}", end="")
    hint = "the first line is the token, which is kept nowhere else; the rest belongs into the keys file (--keys-file)"
    print(f"yolov7-service: {hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
