"""Which detection found which object: what pycocotools matched, as arrays.

The rule is COCO's. In each image and class, detections in falling order of score each take the free object that they
overlap most, if by at least the IoU in question; of an image and class the first 100 count. Lower scores do not change
what higher ones were matched with, so these matches hold for every threshold on scores.

Letters: D detections, G objects, T = 10 IoUs 0.5, 0.55 ... 0.95.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data import CocoDataset


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Detections and objects of a set; crowds are no objects here.

    image, object_image: (D,) and (G,) int, places in the set's images. classes, object_classes: (D,) and (G,) int.
    scores: (D,) float64. boxes_xyxy, object_boxes_xyxy: (D, 4) and (G, 4) float32, pixels of the original image.
    correct: (D, T) bool, has an object at that IoU. ignored: (D, T) bool, lies in a crowd: neither right nor wrong.
    found_by: (G,) int, the detection that has it at IoU 0.5, or -1.
    """

    image: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float32]
    correct: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    object_image: NDArray[np.int64]
    object_classes: NDArray[np.int64]
    object_boxes_xyxy: NDArray[np.float32]
    found_by: NDArray[np.int64]

    @classmethod
    def join(cls, parts: Sequence["Matches"]) -> "Matches":
        """Put the matches of several classes of one set together, in order."""
        begins = np.cumsum([0, *(len(part.scores) for part in parts)])
        found_by = [
            np.where(part.found_by < 0, -1, part.found_by + begin) for part, begin in zip(parts, begins, strict=False)
        ]
        names = [field.name for field in fields(cls) if field.name != "found_by"]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**joined, found_by=np.concatenate(found_by))

    def of_class(self, index: int, iou: int = 0) -> tuple[NDArray[np.int64], int]:
        """The detections of a class that count at an IoU (0: 0.5), best first, and how many objects there are."""
        rows = np.flatnonzero((self.classes == index) & ~self.ignored[:, iou])
        order = (-self.scores[rows]).argsort(kind="stable")
        return rows[order], int(np.count_nonzero(self.object_classes == index))


def read_matches(dataset: CocoDataset, evaluator: Any) -> Matches:
    """Collect what a ``COCOeval`` has matched, over objects of all sizes."""
    places = {image.id: index for index, image in enumerate(dataset.images)}
    classes = {category: index for index, category in enumerate(dataset.category_ids)}
    cells = list(_cells(evaluator))
    known = {"image": [places[cell["image_id"]] for cell in cells]}
    known["class"] = [classes[cell["category_id"]] for cell in cells]
    numbers = np.array([len(cell["dtIds"]) for cell in cells], np.int64)
    ids = _joined([cell["dtIds"] for cell in cells], np.int64)
    boxes = np.array([evaluator.cocoDt.anns[i]["bbox"] for i in ids.tolist()], np.float64).reshape(-1, 4)
    objects, found_by, owner = _objects(cells, ids)
    truth = np.array([evaluator.cocoGt.anns[i]["bbox"] for i in objects.tolist()], np.float64).reshape(-1, 4)
    thresholds = len(evaluator.params.iouThrs)
    return Matches(
        image=np.repeat(np.array(known["image"], np.int64), numbers),
        classes=np.repeat(np.array(known["class"], np.int64), numbers),
        scores=_joined([cell["dtScores"] for cell in cells], np.float64),
        boxes_xyxy=_corners(boxes),
        correct=_columns([(cell["dtMatches"] > 0) & ~_bool(cell["dtIgnore"]) for cell in cells], thresholds),
        ignored=_columns([_bool(cell["dtIgnore"]) for cell in cells], thresholds),
        object_image=np.array(known["image"], np.int64)[owner],
        object_classes=np.array(known["class"], np.int64)[owner],
        object_boxes_xyxy=_corners(truth),
        found_by=found_by,
    )


def _cells(evaluator: Any) -> Iterator[dict[str, Any]]:
    """What was matched in each class and image, where there was anything. evalImgs: class, then area, then image."""
    images, areas = len(evaluator.params.imgIds), len(evaluator.params.areaRng)
    for index in range(len(evaluator.params.catIds)):
        begin = index * areas * images  # the first area is "all"
        yield from (cell for cell in evaluator.evalImgs[begin : begin + images] if cell is not None)


def _objects(
    cells: list[dict[str, Any]], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the objects, the row of the detection that has each, and the cell that each is in."""
    kept = [~_bool(cell["gtIgnore"]) for cell in cells]
    given = [np.array(cell["gtIds"], np.int64)[keep] for cell, keep in zip(cells, kept, strict=True)]
    taken = [cell["gtMatches"][0][keep] for cell, keep in zip(cells, kept, strict=True)]
    rows = np.full(int(ids.max(initial=0)) + 1, -1, np.int64)
    rows[ids] = np.arange(len(ids))
    owner = np.repeat(np.arange(len(cells)), [len(one) for one in given])
    return _joined(given, np.int64), rows[_joined(taken, np.int64)], owner


def _joined(parts: list[Any], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.asarray(part, kind) for part in parts]) if parts else np.empty(0, kind)


def _columns(parts: list[NDArray[np.bool_]], thresholds: int) -> NDArray[np.bool_]:
    """Join (T, D) parts into (D, T)."""
    return np.concatenate([part.reshape(thresholds, -1).T for part in parts] or [np.empty((0, thresholds), np.bool_)])


def _bool(values: Any) -> NDArray[np.bool_]:
    return np.asarray(values).astype(np.bool_)


def _corners(boxes_xywh: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1).astype(np.float32)
