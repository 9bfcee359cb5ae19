"""COCO metrics of detections, wherever they come from: a network in training, an exported file, an HTTP endpoint.

pycocotools does the arithmetic, class by class: it makes a dictionary of every detection, and a table of every image,
size and class, which for all classes of a large set at once is more than memory holds. Its matches of detections with
objects are kept too, for whatever looks closer than a mean does (``curves``, ``calibration``, ``images``): there is one
matching and not two.
"""

import contextlib
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from service.vision.detections import Detections
from training.data import CocoDataset, DatasetError
from training.evaluate.matches import Matches, read_matches


@dataclass(frozen=True, slots=True)
class ClassScore:
    """AP of one class at IoU 0.5:0.95, at 0.5 and at 0.75, and AR; NaN where there is no such object."""

    ap: float
    ap50: float
    ap75: float = math.nan
    ar100: float = math.nan
    objects: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """COCO metrics of a set, fractions of 1; NaN where the set has no object of that size."""

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar100: float
    per_class: dict[str, ClassScore]
    ar1: float = math.nan  # what follows is missing in the files of older runs
    ar10: float = math.nan
    ar_small: float = math.nan
    ar_medium: float = math.nan
    ar_large: float = math.nan

    @property
    def fitness(self) -> float:
        """What "best" means: 0.1 AP50 + 0.9 AP."""
        return 0.1 * self.ap50 + 0.9 * self.ap

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON and for the passport of a model."""
        return asdict(self)


def score(dataset: CocoDataset, detections: Iterable[tuple[int, Detections]]) -> Evaluation:
    """COCO metrics of ``detections`` (image id, detections) against the ground truth of ``dataset``.

    Boxes count to 3 decimals, scores unrounded, as they are on the wire. Raises DatasetError for a class that the
    dataset lacks.
    """
    return _evaluation(dataset, [_table(evaluator) for evaluator in _evaluators(dataset, detections)])


def score_and_match(dataset: CocoDataset, detections: Iterable[tuple[int, Detections]]) -> tuple[Evaluation, Matches]:
    """As ``score``, with what was matched with what. Raises DatasetError."""
    tables, matches = [], []
    for evaluator in _evaluators(dataset, detections):
        tables.append(_table(evaluator))
        matches.append(read_matches(dataset, evaluator))
    return _evaluation(dataset, tables), Matches.join(matches)


def _evaluators(dataset: CocoDataset, detections: Iterable[tuple[int, Detections]]) -> Iterator[Any]:
    """Yield a ``COCOeval`` for each class, in order, that has matched and accumulated."""
    found = list(detections)
    image_ids = np.repeat([image_id for image_id, _ in found], [len(one) for _, one in found] or 0)
    together = Detections(
        np.concatenate([one.boxes for _, one in found] or [np.empty((0, 4), np.float32)]),
        np.concatenate([one.scores for _, one in found] or [np.empty(0, np.float32)]),
        np.concatenate([one.class_ids for _, one in found] or [np.empty(0, np.int32)]),
    )
    if (highest := together.class_ids.max(initial=-1)) >= len(dataset.category_ids):
        raise DatasetError(f"the model answers class {highest}, the data has {len(dataset.category_ids)} classes")
    objects: dict[int, list[dict[str, Any]]] = {category: [] for category in dataset.category_ids}
    for item in dataset.ground_truth["annotations"]:
        objects[item["category_id"]].append(item)
    for class_id, (category, items) in enumerate(objects.items()):
        rows = np.flatnonzero(together.class_ids == class_id)
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools narrates its work on standard output
            answers = list(_coco_rows(together, rows, image_ids[rows], category))
            evaluator = COCOeval(_coco(category, items), _coco(category, answers), "bbox")
            evaluator.params.imgIds = sorted(image.id for image in dataset.images)
            evaluator.evaluate()
            evaluator.accumulate()
        yield evaluator


def _table(evaluator: Any) -> dict[str, Any]:
    return {name: evaluator.eval[name] for name in ("precision", "recall")}


def _coco(category: int, items: list[dict[str, Any]]) -> Any:
    table = COCO()
    table.dataset = {"images": [], "categories": [{"id": category}], "annotations": items}
    table.createIndex()
    return table


def _evaluation(dataset: CocoDataset, tables: list[dict[str, Any]]) -> Evaluation:
    evaluator = COCOeval(iouType="bbox")
    evaluator.eval = {
        "precision": np.concatenate([table["precision"] for table in tables], axis=2),
        "recall": np.concatenate([table["recall"] for table in tables], axis=1),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.summarize()
    values = [math.nan if value < 0 else float(value) for value in evaluator.stats]
    ap, ap50, ap75, small, medium, large, ar1, ar10, ar100, ar_small, ar_medium, ar_large = values
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class), all areas, 100 detections
    recall = evaluator.eval["recall"][:, :, 0, -1]  # (IoU, class)
    counts = np.zeros(len(dataset.class_names), np.int64)
    for image in dataset.images:
        np.add.at(counts, image.classes[~image.crowd], 1)
    per_class = {
        name: _class_score(precision[:, :, k], recall[:, k], int(counts[k]))
        for k, name in enumerate(dataset.class_names)
    }
    return Evaluation(
        *(ap, ap50, ap75, small, medium, large, ar100, per_class),
        ar1=ar1,
        ar10=ar10,
        ar_small=ar_small,
        ar_medium=ar_medium,
        ar_large=ar_large,
    )


def _coco_rows(
    found: Detections, rows: NDArray[np.int64], image_ids: NDArray[np.int64], category: int
) -> Iterator[dict[str, Any]]:
    boxes = found.boxes[rows].astype(np.float64)
    boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).round(3)
    values = image_ids.tolist(), boxes_xywh.tolist(), found.scores[rows].tolist()
    for number, (image_id, box, confidence) in enumerate(zip(*values, strict=True), 1):
        item = {"id": number, "image_id": image_id, "category_id": category, "bbox": box, "score": confidence}
        yield item | {"area": box[2] * box[3], "iscrowd": 0}


def _class_score(precision: NDArray[np.float64], recall: NDArray[np.float64], objects: int) -> ClassScore:
    def mean(rows: NDArray[np.float64]) -> float:
        return float(rows.mean()) if rows.size and (rows > -1).all() else math.nan

    return ClassScore(mean(precision), mean(precision[:1]), mean(precision[5:6]), mean(recall), objects)
