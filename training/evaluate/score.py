"""COCO metrics of detections, wherever they come from: a network in training, an exported file, an HTTP endpoint."""

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


@dataclass(frozen=True, slots=True)
class ClassScore:
    """AP of one class at IoU 0.5:0.95 and at 0.5; NaN where the ground truth has no such object."""

    ap: float
    ap50: float


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
    ap, ap50, ap75, small, medium, large, *recalls = (
        math.nan if value < 0 else float(value) for value in evaluator.stats
    )
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class), all areas, 100 detections
    per_class = {name: _class_score(precision[:, :, k]) for k, name in enumerate(dataset.class_names)}
    return Evaluation(ap, ap50, ap75, small, medium, large, ar100=recalls[2], per_class=per_class)


def _coco_rows(dataset: CocoDataset, image_id: int, found: Detections) -> Iterator[dict[str, Any]]:
    if (highest := found.class_ids.max(initial=-1)) >= len(dataset.category_ids):
        raise DatasetError(f"the model answers class {highest}, the data has {len(dataset.category_ids)} classes")
    boxes = found.boxes.astype(np.float64)
    boxes_xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).round(3)
    for box, confidence, class_id in zip(boxes_xywh, found.scores, found.class_ids, strict=True):
        yield {
            "image_id": image_id,
            "category_id": dataset.category_ids[int(class_id)],
            "bbox": box.tolist(),
            "score": float(confidence),
        }


def _class_score(precision: NDArray[np.float64]) -> ClassScore:
    def mean(rows: NDArray[np.float64]) -> float:
        return float(rows.mean()) if rows.size and (rows > -1).all() else math.nan

    return ClassScore(mean(precision), mean(precision[:1]))
