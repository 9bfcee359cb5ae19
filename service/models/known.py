"""Whether a model still sees: its known pictures, inferred again and compared with what the network said at export.

The pictures are made from a seed. They go through the batcher like any request, and their answers must come back within
what the engine's precision allows. Knows nothing of requests, versions or timers.
"""

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from service.detector import Detector, Served
from service.vision.boxes import iou_matrix
from service.vision.detections import Candidates
from service.vision.spec import KnownImage, generate_image

# Longer than a healthy engine needs behind the queue of a service that keeps its promises.
CHECK_DEADLINE_S = 15.0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may be from the exported one: least overlap of a box, largest difference of a score.

    px: a box whose corners moved no further is the same whatever its overlap, which rounding halves where it is small.
    faint: known scores below this say nothing of classes: of a class hardly learnt, rounding decides between two.
    """

    iou: float
    score: float
    px: float = 0.0
    faint: float = 0.0


# Known answers come from ONNX Runtime in f32, where a half-trained YOLOv7-tiny differed by less than 0.0001 of score.
# bf16 against f32, 600 candidates of 60 generated pictures: 0.005 of score and 0.995 of overlap at worst. fp16 has
# three bits more of mantissa than bf16 and is held to half of its tolerance. int8 files have answers of their own in
# their passports, from which another runtime differs where it rounds the steps of 1/256 of a tensor's range in other
# places. Held to the f32 answers instead, two int8 files of the shipped YOLOv7-tiny differed by 0.019 of score and had
# 0.978 of overlap at worst, over 60 candidates of six shapes. Over 20 candidates of 12 photographs each, boxes moved by
# up to 0.5 px in bf16, 0.03 in fp16 and 3.1 in int8.
TOLERANCES = {
    "f32": Tolerance(iou=0.99, score=0.002),
    "fp16": Tolerance(iou=0.97, score=0.01, px=0.5, faint=0.05),
    "bf16": Tolerance(iou=0.95, score=0.02, px=1.0, faint=0.05),
    "int8": Tolerance(iou=0.9, score=0.05, px=2.0, faint=0.05),
}


async def look(detector: Detector, served: Served) -> str | None:
    """What is wrong with the answers to the known images, or None. Raises what the detector raises."""
    tolerance = TOLERANCES.get(served.passport.precision)
    if tolerance is None:
        return f"nothing is known of the precision {served.passport.precision!r}"
    papers = served.passport.papers
    # A quantised file may have answers of its own; what it was made from then says less of it.
    for known in (papers and papers.known_images) or served.spec.known_images:
        pixels = await asyncio.to_thread(generate_image, known.seed, known.shape_hw)
        found = await detector.infer(pixels, served.model, deadline=time.monotonic() + CHECK_DEADLINE_S)
        difference = compare(known, found, tolerance)
        if difference is not None:
            return f"known image {known.shape_hw[0]}x{known.shape_hw[1]}: {difference}"
    return None


def compare(known: KnownImage, found: Candidates, tolerance: Tolerance) -> str | None:
    """What of the known answer is missing in `found`, or None. The order of near ties does not matter."""
    expected = known.candidates
    overlaps = iou_matrix(expected.boxes, found.boxes)  # (K known, K found)
    for row, (score, class_id) in enumerate(zip(expected.scores, expected.classes, strict=True)):
        moved = np.abs(found.boxes - expected.boxes[row]).max(axis=1, initial=0.0)
        near = (overlaps[row] >= tolerance.iou) | (moved <= tolerance.px)
        if score >= tolerance.faint:
            near &= found.classes == class_id
        if not np.any(near & (np.abs(found.scores - score) <= tolerance.score)):
            return f"candidate {row} (class {class_id}, score {score:.3f}) did not come back"
    return None
