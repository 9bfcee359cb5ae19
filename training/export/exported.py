"""An exported model.onnx as something that can be scored: the same file that is served, run by ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates
from service.vision.spec import ModelSpec, SpecError
from training.evaluate.model import Model, Way, describe_way
from training.export.session import ExportError, OnnxSession


def open_exported(path: Path, shapes_hw: tuple[tuple[int, int], ...] = ()) -> Model:
    """Read a model.onnx and the spec.json beside it, whose shapes it takes unless others are given.

    Raises ExportError.
    """
    papers = path.with_name("spec.json")
    try:
        spec = ModelSpec.from_json(papers.read_text(encoding="utf-8"))
    except (OSError, SpecError) as exc:
        raise ExportError(f"{papers}: {exc}") from exc
    session = OnnxSession(path)

    def infer(images: NDArray[np.uint8]) -> Sequence[Candidates]:
        answers = session.run(images)
        return [answers.image(index) for index in range(len(images))]

    way = Way(shapes_hw or spec.input_shapes)
    own = {
        "variant": f"YOLOv7 {spec.variant}, exported",
        "classes": f"{len(spec.class_names)}: {', '.join(spec.class_names[:20])}",
        "candidates": f"{spec.max_candidates:,}",
        "engine": "ONNX Runtime on the CPU",
    }
    return Model(
        name=f"{spec.name}, version {spec.version}",
        class_names=spec.class_names,
        infer=infer,
        way=way,
        stride=1,
        facts={"file": str(path)} | own | describe_way(way),
    )
