"""An exported file as something that can be scored: the one that is served, run by ONNX Runtime or by OpenVINO."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates
from service.vision.spec import ModelSpec, SpecError
from training.evaluate.model import Model, Way, describe_way
from training.export.openvino_session import OpenvinoSession, Precision
from training.export.session import ExportError, OnnxSession

SUFFIXES = (".onnx", ".xml")


def open_exported(
    path: Path, shapes_hw: tuple[tuple[int, int], ...] = (), *, precision: Precision | None = None
) -> Model:
    """Read a model.onnx, or what was made of it, and the spec.json beside it: its shapes hold unless others are given.

    With a ``precision``, and for an .xml, OpenVINO runs it and computes in that what is not quantised. Raises
    ExportError.
    """
    papers = path.with_name("spec.json")
    try:
        spec = ModelSpec.from_json(papers.read_text(encoding="utf-8"))
    except (OSError, SpecError) as exc:
        raise ExportError(f"{papers}: {exc}") from exc
    by_openvino = precision is not None or path.suffix == ".xml"
    session = OpenvinoSession(path, precision or "f32") if by_openvino else OnnxSession(path)

    def infer(images: NDArray[np.uint8]) -> Sequence[Candidates]:
        answers = session.run(images)
        return [answers.image(index) for index in range(len(images))]

    way = Way(shapes_hw or spec.input_shapes)
    own = {
        "variant": f"YOLOv7 {spec.variant}, exported",
        "classes": f"{len(spec.class_names)}: {', '.join(spec.class_names[:20])}",
        "candidates": f"{spec.max_candidates:,}",
        "engine": f"OpenVINO on the CPU, {precision or 'f32'}" if by_openvino else "ONNX Runtime on the CPU",
    }
    return Model(
        name=f"{spec.name}, version {spec.version}",
        class_names=spec.class_names,
        infer=infer,
        way=way,
        stride=1,
        facts={"file": str(path)} | own | describe_way(way),
    )
