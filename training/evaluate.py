"""Average precision, with the very letterbox and postprocess that serve.

The protocol is ``served``: DeployModel's candidates, ``service.vision`` letterbox to a served shape and postprocess,
confidence 0.001, IoU 0.65, at most 300 detections, multi-label. A network in training and an HTTP endpoint are scored
by the same ``score``: it takes detections and knows nothing of where they come from.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from service.vision.detections import Candidates, Detections
from service.vision.image import decode
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import SERVED_EVALUATION, postprocess
from training.data import CocoDataset
from training.nets import Network

Infer = Callable[[NDArray[np.uint8]], Sequence[Candidates]]
"""Candidates of each image of a uint8 RGB batch (B, H, W, 3)."""


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


def torch_infer(model: torch.nn.Module, device: torch.device) -> Infer:
    """Adapt a DeployModel that lies on ``device`` to ``Infer``."""

    def infer(images: NDArray[np.uint8]) -> list[Candidates]:
        with torch.inference_mode():
            outputs = [output.numpy(force=True) for output in model(torch.from_numpy(images).to(device))]
        return [Candidates(*rows) for rows in zip(*outputs, strict=True)]

    return infer


def max_candidates(network: Network, shapes_hw: Sequence[tuple[int, int]], *, wanted: int = 1000) -> int:
    """K for these input shapes: ``wanted``, or all predictions of the smallest shape where it has fewer."""
    anchors = network.anchors.shape[1]
    fewest = min(sum(anchors * (h // s) * (w // s) for s in network.strides) for h, w in shapes_hw)
    return min(wanted, fewest)


def detect(
    infer: Infer, dataset: CocoDataset, *, shapes_hw: Sequence[tuple[int, int]], batch_size: int = 8
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in original pixels) for every image, by the protocol ``served``.

    Images are grouped by the served shape that fits them, so that every batch is full and of one shape.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(dataset.images):
        by_shape.setdefault(choose_shape((image.height, image.width), shapes_hw), []).append(index)
    for shape_hw, indices in by_shape.items():
        queue = iter(indices)
        while chunk := list(islice(queue, batch_size)):
            batch = np.empty((len(chunk), *shape_hw, 3), np.uint8)
            letterboxes = []
            for slot, index in zip(batch, chunk, strict=True):
                pixels = decode(dataset.images[index].path.read_bytes())
                letterbox = Letterbox.fit((pixels.shape[0], pixels.shape[1]), shape_hw)
                letterbox.apply(pixels, out=slot)
                letterboxes.append(letterbox)
            for index, candidates, letterbox in zip(chunk, infer(batch), letterboxes, strict=True):
                yield dataset.images[index].id, postprocess(candidates, letterbox, SERVED_EVALUATION)


def score(dataset: CocoDataset, detections: Iterable[tuple[int, Detections]]) -> Evaluation:
    """COCO metrics of ``detections`` (image id, detections) against the ground truth of ``dataset``.

    Boxes count to 3 decimals, scores unrounded, as they are on the wire.
    """
    results = [row for image_id, found in detections for row in _coco_rows(dataset, image_id, found)]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools narrates its work on standard output
        truth = COCO()
        truth.dataset = dataset.ground_truth
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results) if results else COCO(), "bbox")
        evaluator.params.imgIds = sorted(image.id for image in dataset.images)
        if results:
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
    if not results:
        nothing = {name: ClassScore(0.0, 0.0) for name in dataset.class_names}
        return Evaluation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, nothing)
    ap, ap50, ap75, small, medium, large, *recalls = (
        math.nan if value < 0 else float(value) for value in evaluator.stats
    )
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class), all areas, 100 detections
    per_class = {name: _class_score(precision[:, :, k]) for k, name in enumerate(dataset.class_names)}
    return Evaluation(ap, ap50, ap75, small, medium, large, ar100=recalls[2], per_class=per_class)


def _coco_rows(dataset: CocoDataset, image_id: int, found: Detections) -> Iterator[dict[str, Any]]:
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
