"""A detection dataset in COCO JSON, read and checked once.

What is wrong with the file as a whole (missing images, duplicate ids, unknown categories) is an error that names the culprit; a single box that no
detector could learn from is dropped, counted and logged. This module opens no image: it only sees that the files are there.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)


class DatasetError(Exception):
    """The annotations or the images they name cannot be used."""


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """One image and its objects, crowds among them.

    boxes_xyxy: (N, 4) float32 pixels, inside the image. classes: (N,) int64, contiguous from 0. crowd: (N,) bool, regions not trained on.
    """

    id: int
    path: Path
    width: int
    height: int
    boxes_xyxy: NDArray[np.float32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CocoDataset:
    """Images in the file's order; class k is the category with the k-th smallest id.

    ground_truth: the COCO dict that pycocotools evaluates against: original ids and boxes, without the boxes dropped here.
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
        table = _read(annotations)
        try:
            return cls._build(table, annotations, images or annotations.parent / "images")
        except (KeyError, TypeError, ValueError) as exc:
            raise DatasetError(f"{annotations} is not a COCO detection file: {type(exc).__name__} {exc}") from exc

    @classmethod
    def _build(cls, table: dict[str, Any], annotations: Path, folder: Path) -> Self:
        categories = sorted(table["categories"], key=lambda category: int(category["id"]))
        category_ids = tuple(_unique((int(category["id"]) for category in categories), f"{annotations}: category"))
        entries = {int(entry["id"]): entry for entry in table["images"]}
        _unique((int(entry["id"]) for entry in table["images"]), f"{annotations}: image")
        _unique((int(item["id"]) for item in table["annotations"]), f"{annotations}: annotation")
        if not entries:
            raise DatasetError(f"{annotations} lists no images")
        kept = _keep_usable(table["annotations"], entries, set(category_ids), annotations)
        classes = {category: index for index, category in enumerate(category_ids)}
        by_image: dict[int, list[dict[str, Any]]] = {identity: [] for identity in entries}
        for item in kept:
            by_image[int(item["image_id"])].append(item)
        return cls(
            class_names=tuple(str(category["name"]) for category in categories),
            category_ids=category_ids,
            images=tuple(_image(entry, by_image[identity], folder, classes) for identity, entry in entries.items()),
            ground_truth={
                "info": table.get("info", {}),
                "categories": categories,
                "images": table["images"],
                "annotations": kept,
            },
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_bytes())
    except OSError as exc:
        raise DatasetError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise DatasetError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(table, dict):
        raise DatasetError(f"{path} is not a COCO detection file: no object at the top")
    return table


def _unique(ids: Iterable[int], what: str) -> list[int]:
    seen: set[int] = set()
    for identity in (listed := list(ids)):
        if identity in seen:
            raise DatasetError(f"{what} id {identity} is there twice")
        seen.add(identity)
    return listed


def _keep_usable(
    items: list[dict[str, Any]], entries: dict[int, Any], categories: set[int], source: Path
) -> list[dict[str, Any]]:
    """Return the annotations whose box lies at least partly inside its image, with the fields that evaluation needs filled in."""
    kept = []
    for item in items:
        if int(item["image_id"]) not in entries:
            raise DatasetError(f"{source}: annotation {item['id']} is on image {item['image_id']}, which is not listed")
        if int(item["category_id"]) not in categories:
            raise DatasetError(
                f"{source}: annotation {item['id']} has category {item['category_id']}, which is not listed"
            )
        entry = entries[int(item["image_id"])]
        x, y, w, h = (float(value) for value in item["bbox"])
        inside = min(x + w, entry["width"]) > max(x, 0) and min(y + h, entry["height"]) > max(y, 0)
        if inside and np.isfinite((x, y, w, h)).all():
            kept.append(item | {"area": item.get("area", w * h), "iscrowd": int(item.get("iscrowd", 0))})
    if dropped := len(items) - len(kept):
        logger.warning(
            "%s: dropped %d of %d boxes: empty, not finite or outside their image", source, dropped, len(items)
        )
    return kept


def _image(entry: dict[str, Any], items: list[dict[str, Any]], folder: Path, classes: dict[int, int]) -> DatasetImage:
    path = folder / str(entry["file_name"])
    if not path.is_file():
        raise DatasetError(f"image {entry['id']} is missing: no file {path}")
    width, height = int(entry["width"]), int(entry["height"])
    boxes = np.array([item["bbox"] for item in items], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return DatasetImage(
        id=int(entry["id"]),
        path=path,
        width=width,
        height=height,
        boxes_xyxy=np.clip(boxes, 0, np.array((width, height, width, height), np.float32)),
        classes=np.array([classes[int(item["category_id"])] for item in items], np.int64),
        crowd=np.array([bool(item["iscrowd"]) for item in items], np.bool_),
    )
