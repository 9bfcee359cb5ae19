"""From a network's candidates to the detections a request asked for. Serving and training's evaluation share it.

Knows nothing of tensors, engines or class names.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.vision.boxes import area
from service.vision.detections import Candidates, Detections
from service.vision.letterbox import Letterbox
from service.vision.nms import nms


@dataclass(frozen=True, slots=True)
class PostprocessOptions:
    """What one request may choose.

    confidence: scores must be above it; class_confidence: pairs (class id, confidence) that replace it for their class.
    iou: overlap above which the lesser of two boxes is dropped.
    classes: only these class ids; None means all.
    class_agnostic: boxes of different classes suppress one another too.
    multi_label: a prediction may be answered once for each of its classes, instead of for its best one only.
    """

    confidence: float = 0.25
    iou: float = 0.45
    max_detections: int = 300
    classes: tuple[int, ...] | None = None
    class_agnostic: bool = False
    multi_label: bool = False
    class_confidence: tuple[tuple[int, float], ...] = ()


SERVED_EVALUATION = PostprocessOptions(confidence=0.001, iou=0.65, max_detections=300, multi_label=True)
"""The options under which AP is measured, wherever it is measured."""


def count_contenders(candidates: Candidates, options: PostprocessOptions) -> int:
    """How many rows are above the least threshold in play: what `postprocess` really works on, known in 2 µs.

    With some thirty contenders of K rows, postprocessing takes about as long as handing it to a thread would (50 µs);
    with a thousand it takes a millisecond.
    """
    return int(np.count_nonzero(candidates.scores > _least_confidence(options)))


def postprocess(candidates: Candidates, letterbox: Letterbox, options: PostprocessOptions) -> Detections:
    """Threshold, best class, class filter, NMS, and back to the upright original; best first.

    candidates: rows in any order, boxes in pixels of the network's input as `letterbox` laid the picture into it.
    NMS runs in the network's frame, before boxes are clipped to the picture; those wholly outside it are dropped then.
    With multi_label off, the best class of a prediction is found before the class filter: asking for cars does not turn
    trucks into cars.
    """
    # Of the rows that no threshold lets through none is answered and none hides another: a prediction's best row is its
    # first in falling score, so if that one falls here, all its others do.
    rows = (candidates.scores > _least_confidence(options)).nonzero()[0]
    order = rows[(-candidates.scores[rows]).argsort(kind="stable")]
    if not options.multi_label:
        order = order[_first_of_each(candidates.predictions[order])]
    scores, classes = candidates.scores[order], candidates.classes[order]
    if options.class_confidence or options.classes is not None:
        wanted = _wanted(scores, classes, options)
        order, scores, classes = order[wanted], scores[wanted], classes[wanted]
    boxes = candidates.boxes[order]
    kept = nms(
        boxes,
        scores,
        options.iou,
        classes=None if options.class_agnostic else classes,
        limit=options.max_detections,
    )
    clipped = letterbox.to_image(boxes[kept])
    # Clipping leaves nothing of what lies wholly in the grey; comparing drops a nan as well.
    seen = area(clipped) > 0
    kept = kept[seen]
    return Detections(clipped[seen], scores[kept], classes[kept])


def _first_of_each(predictions: NDArray[np.int32]) -> NDArray[np.int64]:
    """Positions, rising, at which a prediction appears for the first time."""
    return np.sort(np.unique(predictions, return_index=True)[1])


def _wanted(scores: NDArray[np.float32], classes: NDArray[np.int32], options: PostprocessOptions) -> NDArray[np.bool_]:
    thresholds = np.full(len(scores), options.confidence, np.float32)
    for class_id, confidence in options.class_confidence:
        thresholds[classes == class_id] = confidence
    wanted: NDArray[np.bool_] = scores > thresholds
    if options.classes is not None:
        wanted &= np.isin(classes, options.classes)
    return wanted


def _least_confidence(options: PostprocessOptions) -> np.float32:
    """The lowest of all thresholds, rounded as they are where they are compared."""
    return np.float32(min([options.confidence, *(confidence for _, confidence in options.class_confidence)]))
