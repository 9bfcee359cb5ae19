"""Files for engines that the service's own engine is not: tried in ONNX Runtime on the CPU, outside the service.

``model.fp16.onnx`` and ``model.int8.onnx`` are what TensorRT compiles. Their numbers are those of their own types here
too, only slowly, so that their AP is worth knowing and their speed is not. A plan is tried where it runs (``--url``).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from service.vision.detections import Candidates, Detections
from service.vision.letterbox import Letterbox
from service.vision.passport import FoundEngine, check
from service.vision.postprocess import SERVED_EVALUATION, postprocess
from service.vision.spec import ModelSpec
from training.data import read_pixels
from training.evaluate import Infer, score
from training.evaluate.progress import shown
from training.export.exported import open_exported
from training.export.gate.agreement import agreement
from training.export.gate.subject import Subject, find
from training.export.gate.trial import AT_ONCE, SAME_ANSWER, SAME_OBJECT, Trial
from training.export.passports import FORMATS, read_passport, sha256_of
from training.export.session import VERSIONS, ExportError


def try_offline(path: Path, subject: Subject) -> Trial:
    """Score ``path``, which has its spec.json beside it, and try batches and shapes. Raises ExportError."""
    model, dataset = open_exported(path), subject.dataset
    found = dict(shown(model.detect(dataset), len(dataset), path.name))
    together, largest_batch = _together(model.infer, subject)
    return Trial(
        file=path.name,
        precision="fp16" if "fp16" in path.name else "int8",
        engine=f"onnxruntime {VERSIONS['onnxruntime']}",
        device="CPU, outside the service",
        evaluation=score(dataset, found.items()),
        detections=found,
        alike=agreement(subject.parent, found, SAME_OBJECT),
        together=together,
        largest_batch=largest_batch,
        shapes={
            each.shape_hw: agreement(each.expected, find(model.infer, each.pixels), SAME_OBJECT).share
            for each in subject.stretched
        },
        latency_ms={},
    )


def admit(path: Path, spec: ModelSpec) -> None:
    """Refuse a file that its passport does not speak of; of the others a service finds that out. Raises ExportError."""
    passport = read_passport(path)
    if not path.is_file():
        raise ExportError(f"{path} is missing")
    if passport is None:
        return
    found = FoundEngine(
        file=path.name,
        format=FORMATS[path.suffix],
        sha256={path.name: sha256_of(path)},
        made_from=spec.sha256,
        input_shapes=spec.input_shapes,
        versions=VERSIONS,
    )
    if refusals := check(passport, found).refusals:
        raise ExportError(f"{path.name} is refused: {'; '.join(refusals)}")


def _together(infer: Infer, subject: Subject) -> tuple[float, int]:
    """The share of boxes that pictures have in one batch and alone, and how large that batch is."""
    shape_hw = subject.shapes_hw[0]
    images = subject.pictures[:AT_ONCE]
    pixels = [read_pixels(image) for image in images]
    letterboxes = [Letterbox.fit((each.shape[0], each.shape[1]), shape_hw) for each in pixels]
    batch = np.stack([letterbox.apply(each) for letterbox, each in zip(letterboxes, pixels, strict=True)])

    def answers(candidates: list[Candidates]) -> Mapping[int, Detections]:
        rows = zip(images, candidates, letterboxes, strict=True)
        return {image.id: postprocess(row, letterbox, SERVED_EVALUATION) for image, row, letterbox in rows}

    alone = answers([infer(image[None])[0] for image in batch])
    return agreement(alone, answers(list(infer(batch))), SAME_ANSWER).share, len(batch)
