"""`yolov7-service detect`: looks at one photo without a server, and draws what it found."""

import asyncio
import json
import logging
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Column, Table

from service.api.answer import list_detections, to_json
from service.app.service import Service
from service.detector import Detected
from service.detector.options import DetectOptions, parse_options, resolve_options
from service.errors import ImageError, SettingsError
from service.settings import Settings, add_flags, given_flags
from service.vision.draw import draw
from service.vision.image import decode, read_header
from service.vision.spec import ModelSpec

DETECT_OPTIONS = tuple(name for name in DetectOptions.model_fields if name != "version")
DETECT_SETTINGS = ("model_repository", "precision", "streams", "openvino_cache_dir", "max_pixels")
DETECT_TIMEOUT_S = 120.0
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def add_arguments(parser: ArgumentParser) -> None:
    """All flags: those of a detection, and the settings that matter without a server."""
    parser.add_argument("photo", type=Path, help="a picture file of any format that the service takes")
    parser.add_argument("--out", type=Path, help="the annotated picture (default: <photo>.detected.jpg, here)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name in DETECT_OPTIONS:
        _add_option(parser, name)
    add_flags(parser, DETECT_SETTINGS)


def run(arguments: Namespace) -> None:
    """Prints what it finds in the photo, and writes the annotated picture. Raises ServiceError and OSError."""
    try:
        _detect(Settings.load(given_flags(arguments)), arguments)
    except ImageError as exc:
        sys.exit(f"yolov7-service: {arguments.photo}: {exc}")


def _add_option(parser: ArgumentParser, name: str) -> None:
    """A flag that collects what is given; whether it may be repeated is decided where requests are parsed, too."""
    field = DetectOptions.model_fields[name]
    flag, text = f"--{name.replace('_', '-')}", str(field.description)
    if field.annotation is bool:
        parser.add_argument(flag, action="append_const", const="true", default=[], help=text)
    else:
        default = f" (default: {field.default})" if field.default else ""
        metavar = name.rsplit("_", 1)[-1].upper()
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=text + default)


def _detect(settings: Settings, arguments: Namespace) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    # What can be refused is refused before the seconds that compiling takes.
    given = vars(arguments)
    options = parse_options((name, text) for name in DETECT_OPTIONS for text in given[name])
    out = arguments.out or Path(f"{arguments.photo.stem}.detected.jpg")
    if out.suffix.lower() not in PICTURES:
        raise SettingsError(f"--out {out}: no picture to write; a name may end in {', '.join(PICTURES)}")
    data = arguments.photo.read_bytes()
    read_header(data, max_pixels=settings.max_pixels)
    spec, detected = asyncio.run(_detect_once(settings, data, options))
    picture = draw(decode(data, max_pixels=settings.max_pixels), detected.detections, spec.class_names)
    Image.fromarray(picture).save(out, quality=90)
    if arguments.json:
        print(_as_json(detected, spec))  # noqa: T201 - what a command says
    else:
        _print_table(detected, spec, out)


async def _detect_once(settings: Settings, data: bytes, options: DetectOptions) -> tuple[ModelSpec, Detected]:
    name = options.model or settings.default_model
    service = Service(settings, [name])
    try:
        await service.start()
        served = service.models.resolve()
        chosen = resolve_options(options, served.spec)
        deadline = time.monotonic() + DETECT_TIMEOUT_S
        with service.detector.place(deadline) as place:
            detected = await service.detector.detect(
                data, served, options=chosen, deadline=deadline, place=place, caching="off"
            )
        return served.spec, detected
    finally:
        await service.aclose()


def _as_json(detected: Detected, spec: ModelSpec) -> str:
    height, width = detected.image_hw
    document = {
        "model": {"name": spec.name, "version": spec.version},
        "image": {"width": width, "height": height},
        "detections": list_detections(detected.detections, spec),
        "timings_ms": {stage: round(seconds * 1000, 3) for stage, seconds in detected.stage_seconds.items()},
    }
    return json.dumps(json.loads(to_json(document)), indent=2)


def _print_table(detected: Detected, spec: ModelSpec, out: Path) -> None:
    height, width = detected.image_hw
    sides = ("x1", "y1", "x2", "y2")
    table = Table("label", *(Column(name, justify="right") for name in ("score", *sides)))
    for row in list_detections(detected.detections, spec):
        table.add_row(row["label"], f"{row['score']:.3f}", *(f"{row['box'][side]:.1f}" for side in sides))
    times = "  ".join(f"{stage} {seconds * 1000:.1f} ms" for stage, seconds in detected.stage_seconds.items())
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{len(detected.detections)} detections in {width} x {height} pixels, by {spec.name}/{spec.version}")
    console.print(table)
    console.print(f"{times}\nannotated picture: {out}")
