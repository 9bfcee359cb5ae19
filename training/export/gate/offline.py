"""Files for engines that the service's own engine is not: tried in ONNX Runtime on the CPU, outside the service.

``model.fp16.onnx`` and ``model.int8.onnx`` are what TensorRT compiles. Their numbers are those of their own types here
too, only slowly, so that their AP is worth knowing and their speed is not. A plan is tried where it runs (``--url``).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from service.vision.detections import Candidates, Detections
from service.vision.letterbox import Letterbox
from service.vision.postprocess import SERVED_EVALUATION, postprocess
from training.data import read_pixels
from training.evaluate import score
from training.evaluate.progress import shown
from training.export.exported import open_exported
from training.export.gate.agreement import agreement
from training.export.gate.trial import AT_ONCE, SAME_ANSWER, SAME_OBJECT, Subject, Trial
from training.export.session import VERSIONS


def try_offline(path: Path, subject: Subject) -> Trial:
    """Score ``path``, which has its spec.json beside it, and compare a batch with single images. Raises ExportError."""
    model, dataset = open_exported(path), subject.dataset
    found = dict(shown(model.detect(dataset), len(dataset), path.name))
    shape_hw = subject.shapes_hw[0]
    images = dataset.images[:AT_ONCE]
    pixels = [read_pixels(image) for image in images]
    letterboxes = [Letterbox.fit((each.shape[0], each.shape[1]), shape_hw) for each in pixels]
    batch = np.stack([letterbox.apply(each) for letterbox, each in zip(letterboxes, pixels, strict=True)])

    def answers(candidates: list[Candidates]) -> Mapping[int, Detections]:
        rows = zip(images, candidates, letterboxes, strict=True)
        return {image.id: postprocess(row, letterbox, SERVED_EVALUATION) for image, row, letterbox in rows}

    alone = answers([model.infer(image[None])[0] for image in batch])
    return Trial(
        file=path.name,
        precision="fp16" if "fp16" in path.name else "int8",
        engine=f"onnxruntime {VERSIONS['onnxruntime']}",
        device="CPU, outside the service",
        evaluation=score(dataset, found.items()),
        detections=found,
        alike=agreement(found if subject.parent is None else subject.parent, found, SAME_OBJECT),
        together=agreement(alone, answers(list(model.infer(batch))), SAME_ANSWER),
        largest_batch=len(batch),
        shapes={},
        latency_ms={},
    )
