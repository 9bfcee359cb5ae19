"""A detection dataset in COCO JSON, read and checked once.

What is wrong with the file as a whole (missing images, duplicate ids, unknown categories) is an error that names the
culprit; a single box that no detector could learn from is dropped, counted and logged. This module opens no image: it
only sees that the files are there.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from training.data.segmentation import box_xywh, outline

logger = logging.getLogger(__name__)

_SCORED = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")  # what pycocotools reads of an object


class DatasetError(Exception):
    """The annotations or the images they name cannot be used."""


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """One image and its objects, crowds among them.

    boxes_xyxy: (N, 4) float32 pixels, inside the image. classes: (N,) int64, contiguous from 0. crowd: (N,) bool,
    regions that are not trained on. outlines: N polygons (P, 2) float32, None where the file gives only the box; empty
    where it gives no polygon for the whole image.
    """

    id: int
    path: Path
    width: int
    height: int
    boxes_xyxy: NDArray[np.float32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    outlines: tuple[NDArray[np.float32] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class CocoDataset:
    """Images in the file's order; class k is the category with the k-th smallest id.

    ground_truth: the COCO dict that pycocotools evaluates against: original boxes, image and category ids, without
    the objects dropped here; the objects are numbered from 1, because pycocotools takes id 0 for "no match". Polygons
    are left out: they are most of a large set's memory, and AP of boxes does not ask for them.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: tuple[DatasetImage, ...]
    ground_truth: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def open(cls, annotations: Path, images: Path | None = None) -> Self:
        """Read a COCO file whose images lie in ``images`` (default: ``images/`` beside it). Raises DatasetError."""
        return cls.from_table(read_table(annotations), images or annotations.parent / "images", str(annotations))

    @classmethod
    def from_table(cls, table: dict[str, Any], images: Path, origin: str) -> Self:
        """Build from what a COCO file holds; ``origin`` is what errors call it. Raises DatasetError."""
        try:
            return cls._build(table, images)
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            reason = f"{type(exc).__name__}: {exc}"
            raise DatasetError(f"{origin} is not a COCO detection file ({reason})") from exc
        except DatasetError as exc:
            raise DatasetError(f"{origin}: {exc}") from exc

    @classmethod
    def _build(cls, table: dict[str, Any], folder: Path) -> Self:
        entries = _by_id(table["images"], "image")
        categories = [category for _, category in sorted(_by_id(table["categories"], "category").items())]
        classes = {whole_id(category["id"]): index for index, category in enumerate(categories)}
        names = tuple(str(category["name"]) for category in categories)
        _by_id(table["annotations"], "annotation")
        if not entries or not categories:
            raise DatasetError("lists no images" if categories else "lists no categories")
        if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
            raise DatasetError(f"two categories are called {twice!r}")
        kept = _usable(table["annotations"], entries, classes)
        by_image: dict[int, list[dict[str, Any]]] = {identity: [] for identity in entries}
        for item in kept:
            by_image[item["image_id"]].append(item)
        return cls(
            class_names=names,
            category_ids=tuple(classes),
            images=tuple(_image(entry, by_image[identity], folder, classes) for identity, entry in entries.items()),
            ground_truth={
                "info": table.get("info", {}),
                "categories": [
                    category | {"id": identity} for identity, category in zip(classes, categories, strict=True)
                ],
                "images": [entry | {"id": identity} for identity, entry in entries.items()],
                "annotations": [{key: item[key] for key in _SCORED} for item in kept],
            },
        )


def read_table(path: Path) -> dict[str, Any]:
    """Read a COCO file as it is, unchecked but for being a JSON object. Raises DatasetError."""
    try:
        table = json.loads(path.read_bytes())
    except OSError as exc:
        raise DatasetError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise DatasetError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(table, dict):
        raise DatasetError(f"{path} is not a COCO detection file (no object at the top)")
    return table


def whole_id(value: Any) -> int:
    """Return an id as a number, which some files write as text or with a point. Raises TypeError, ValueError."""
    number = int(value)
    if number != float(value):
        raise ValueError(f"the id {value!r} is no whole number")
    return number


def _by_id(items: Iterable[dict[str, Any]], what: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for item in items:
        identity = whole_id(item["id"])
        if identity in found:
            raise DatasetError(f"{what} id {identity} is there twice")
        found[identity] = item
    return found


def _usable(
    items: list[dict[str, Any]], entries: Mapping[int, dict[str, Any]], classes: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Return the annotations whose box overlaps its image, with the fields filled in that evaluation needs."""
    kept: list[dict[str, Any]] = []
    for item in items:
        image_id, category_id = whole_id(item["image_id"]), whole_id(item["category_id"])
        if (image := entries.get(image_id)) is None:
            raise DatasetError(f"annotation {item['id']} is on image {item['image_id']}, which is not listed")
        if category_id not in classes:
            raise DatasetError(f"annotation {item['id']} has category {item['category_id']}, which is not listed")
        x, y, w, h = box_xywh(item)
        overlaps = min(x + w, image["width"]) > max(x, 0) and min(y + h, image["height"]) > max(y, 0)
        if overlaps and all(map(math.isfinite, (x, y, w, h))):
            area = w * h if item.get("area") is None else float(item["area"])
            ids = {"id": len(kept) + 1, "image_id": image_id, "category_id": category_id}
            filled = {"bbox": [x, y, w, h], "area": area, "iscrowd": int(item.get("iscrowd") or 0)}
            kept.append(item | ids | filled)
    if dropped := len(items) - len(kept):
        logger.warning("dropped %d of %d boxes: empty, not finite or outside their image", dropped, len(items))
    return kept


def _image(
    entry: Mapping[str, Any], items: list[dict[str, Any]], folder: Path, classes: Mapping[int, int]
) -> DatasetImage:
    path = folder / str(entry["file_name"])
    width, height = int(entry["width"]), int(entry["height"])
    if not path.is_file():
        raise DatasetError(f"image {entry['id']} is missing: no file {path}")
    if width < 1 or height < 1:
        raise DatasetError(f"image {entry['id']} is said to be {width}x{height} pixels")
    boxes = np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    outlines = tuple(outline(item) for item in items)
    return DatasetImage(
        id=whole_id(entry["id"]),
        path=path,
        width=width,
        height=height,
        boxes_xyxy=np.clip(boxes, 0, np.array((width, height, width, height), np.float32)),
        classes=np.array([classes[item["category_id"]] for item in items], np.int64),
        crowd=np.array([bool(item["iscrowd"]) for item in items], np.bool_),
        outlines=outlines if any(points is not None for points in outlines) else (),
    )
