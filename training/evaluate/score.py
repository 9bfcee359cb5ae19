"""COCO metrics of detections, wherever they come from: a network in training, an exported file, an HTTP endpoint.

pycocotools does the arithmetic. Its matches of detections with objects are kept too, for whatever looks closer than a
mean does (``curves``, ``calibration``, ``images``): there is one matching and not two.
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
    return _evaluation(dataset, _evaluator(dataset, detections))


def score_and_match(dataset: CocoDataset, detections: Iterable[tuple[int, Detections]]) -> tuple[Evaluation, Matches]:
    """As ``score``, with what was matched with what. Raises DatasetError."""
    evaluator = _evaluator(dataset, detections)
    return _evaluation(dataset, evaluator), read_matches(dataset, evaluator)


def _evaluator(dataset: CocoDataset, detections: Iterable[tuple[int, Detections]]) -> Any:
    results = [row for image_id, found in detections for row in _coco_rows(dataset, image_id, found)]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools narrates its work on standard output
        truth = COCO()
        truth.dataset = dataset.ground_truth
        truth.createIndex()
        # loadRes takes no empty list; an empty COCO is what it would make of one.
        evaluator = COCOeval(truth, truth.loadRes(results) if results else COCO(), "bbox")
        evaluator.params.imgIds = sorted(image.id for image in dataset.images)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def _evaluation(dataset: CocoDataset, evaluator: Any) -> Evaluation:
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


def _coco_rows(dataset: CocoDataset, image_id: int, found: Detections) -> Iterator[dict[str, Any]]:
    if (highest := found.class_ids.max(initial=-1)) >= len(dataset.category_ids):
        raise DatasetError(f"the model answers class {highest}, the data has {len(dataset.category_ids)} classes")
    boxes = found.boxes.astype(np.float64)
    boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).round(3)
    rows = boxes_xywh.tolist(), found.scores.tolist(), found.class_ids.tolist()
    for box, confidence, class_id in zip(*rows, strict=True):
        category = dataset.category_ids[class_id]
        yield {"image_id": image_id, "category_id": category, "bbox": box, "score": confidence}


def _class_score(precision: NDArray[np.float64], recall: NDArray[np.float64], objects: int) -> ClassScore:
    def mean(rows: NDArray[np.float64]) -> float:
        return float(rows.mean()) if rows.size and (rows > -1).all() else math.nan

    return ClassScore(mean(precision), mean(precision[:1]), mean(precision[5:6]), mean(recall), objects)
