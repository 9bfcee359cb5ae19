"""YOLO text labels: beside each image a file of rows ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...``, in 0..1.

What is read becomes the table that a COCO file would hold, so that nothing after this module knows of the format. A row
of five numbers is a box and a longer one a polygon, row by row; the reference implementation decides for the whole
file. The labels of ``.../images/a/b.jpg`` lie in ``.../labels/a/b.txt``; an image without that file has no objects.
"""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.vision.image import ImageError, read_header

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
MAX_PIXELS = 200_000_000
_HEAD = 1 << 17  # bytes; with a preview and a colour profile a header takes as much
_JPEG = b"\xff\xd8\xff"


def yolo_table(images: Sequence[Path], class_names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the COCO table of images and their label files, and what could not be read, one line each.

    Image ids count from 1, category ids are class + 1, ``file_name`` is the whole path.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        sizes = list(threads.map(_size_wh, images))
    faults: list[str] = []
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (path, size) in enumerate(zip(images, sizes, strict=True), 1):
        if isinstance(size, str):
            faults.append(f"{path}: {size}")
            continue
        width, height = size
        entries.append({"id": image_id, "file_name": str(path), "width": width, "height": height})
        for row in _rows(label_path(path), len(class_names), faults):
            annotations.append(_annotation(row, size) | {"id": len(annotations) + 1, "image_id": image_id})
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, 1)]
    return {"images": entries, "categories": categories, "annotations": annotations}, faults


def label_path(image: Path) -> Path:
    """Where the labels of an image lie: ``labels`` for the last folder called ``images``, and ``.txt``."""
    parts = list(image.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, f"{image.stem}.txt")


def _rows(path: Path, num_classes: int, faults: list[str]) -> list[list[float]]:
    """Return the rows that can be understood; the others are described in ``faults``."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as exc:
        faults.append(f"{path}: {exc}")
        return []
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line, num_classes))
        except ValueError as exc:
            faults.append(f"{path}, line {number}: {exc}")
    return rows


def _row(line: str, num_classes: int) -> list[float]:
    values = [float(word) for word in line.split()]
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise ValueError(f"{len(values)} numbers are neither a box (5) nor a polygon (7, 9, ...)")
    if values[0] not in range(num_classes):
        raise ValueError(f"class {values[0]:g} is not one of 0 to {num_classes - 1}")
    return values


def _annotation(row: Sequence[float], size_wh: tuple[int, int]) -> dict[str, Any]:
    """Turn a row into a box and, if it is one, a polygon, in pixels."""
    (kind, *values), (width, height) = row, size_wh
    if len(values) == 4:
        cx, cy, w, h = values
        bbox = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
        return {"category_id": int(kind) + 1, "bbox": bbox}
    xs, ys = [x * width for x in values[::2]], [y * height for y in values[1::2]]
    bbox = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    if not all(map(math.isfinite, values)):
        return {"category_id": int(kind) + 1, "bbox": [math.nan] * 4}
    outline = [value for point in zip(xs, ys, strict=True) for value in point]
    return {"category_id": int(kind) + 1, "bbox": bbox, "segmentation": [outline]}


def _size_wh(path: Path) -> tuple[int, int] | str:
    """Width and height of the upright image, or why it has none."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if head.startswith(_JPEG):
                # All that is asked lies before the pixels, but for rare files. Other formats may turn it at the end.
                with suppress(ImageError):
                    return read_header(head, max_pixels=MAX_PIXELS).upright_hw[::-1]
            return read_header(head + file.read(), max_pixels=MAX_PIXELS).upright_hw[::-1]
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    except ImageError as exc:
        return str(exc)
