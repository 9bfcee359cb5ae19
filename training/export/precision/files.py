"""From a published model.onnx to the narrower files beside it, each compared with it before it takes its name.

    <version>/model.fp16.onnx              FP16, strongly typed: TensorRT, ONNX Runtime
    <version>/model.int8.xml  .bin         INT8 for OpenVINO, which the service's embedded engine runs
    <version>/model.int8.onnx              INT8 with Q/DQ nodes: TensorRT, ONNX Runtime
    <version>/<each>.passport.json         see service.vision.passport

Other files of the version are left alone; a file that was there is replaced. Whether the accuracy suffices, promote
decides.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto

from service.vision.spec import ModelSpec
from training.config import Quantisation
from training.data import CocoDataset, read_pixels
from training.export.openvino_session import OpenvinoSession
from training.export.parity import Run, pictures
from training.export.passports import (
    describe_engine,
    known_image,
    read_passport,
    read_spec,
    sha256_of_settings,
    write_passport,
)
from training.export.precision.agreement import Agreement, agreement
from training.export.precision.anatomy import Anatomy, dissect
from training.export.precision.calibration import Calibration
from training.export.precision.half import halve
from training.export.precision.integer_onnx import quantise_onnx
from training.export.precision.integer_openvino import quantise_openvino
from training.export.repository import staging
from training.export.session import VERSIONS, Answers, ExportError, OnnxSession

logger = logging.getLogger(__name__)

Format = Literal["openvino", "onnx"]
FORMATS: tuple[Format, ...] = ("openvino", "onnx")
_NAMES: dict[Format, str] = {"openvino": "model.int8.xml", "onnx": "model.int8.onnx"}
_SHOWN = 8  # images of the set that both engines are shown, beside the generated ones


@dataclass(frozen=True, slots=True)
class NarrowFile:
    """A written file, the bytes of it and of what belongs to it, and how close it is at each input shape (H, W)."""

    path: Path
    size: int
    agreements: dict[tuple[int, int], Agreement]


@dataclass(frozen=True, slots=True)
class _Parent:
    """The model.onnx that narrower ones are made of."""

    path: Path
    model: ModelProto
    spec: ModelSpec
    anatomy: Anatomy


def write_half(path: Path, dataset: CocoDataset | None = None) -> NarrowFile:
    """Write model.fp16.onnx beside ``path``; pictures of ``dataset`` join the generated ones in the comparison.

    Raises DatasetError, ExportError.
    """
    parent = _open(path)

    def make(file: Path) -> Run:
        file.write_bytes(halve(parent.model).SerializeToString(deterministic=True))
        return OnnxSession(file).run

    return _write(parent, "model.fp16.onnx", make, _some_pixels(dataset))


def write_integers(
    path: Path, dataset: CocoDataset, recipe: Quantisation, formats: Sequence[Format] = FORMATS
) -> list[NarrowFile]:
    """Write INT8 files beside ``path``, with ranges learnt from ``dataset``. Raises DatasetError, ExportError."""
    parent = _open(path)
    images = Calibration.choose(dataset, parent.spec.input_shapes, count=recipe.images, seed=recipe.seed)
    if len(images) < recipe.images:
        logger.warning("ranges are learnt from %d pictures, the recipe asks for %d", len(images), recipe.images)
    shown = _some_pixels(dataset)

    def make_openvino(file: Path) -> Run:
        quantise_openvino(parent.path, file, parent.anatomy, recipe, images)
        return OpenvinoSession(file).run

    def make_onnx(file: Path) -> Run:
        quantise_onnx(parent.model, file, parent.anatomy, recipe, images)
        return OnnxSession(file).run

    makers: dict[Format, Callable[[Path], Run]] = {"openvino": make_openvino, "onnx": make_onnx}
    learnt = {"calibration_images": str(len(images)), "quantisation": sha256_of_settings(asdict(recipe))}
    return [_write(parent, _NAMES[kind], makers[kind], shown, learnt) for kind in formats]


def _open(path: Path) -> _Parent:
    if path.name != "model.onnx":
        raise ExportError(f"{path} is not the model.onnx of a version, of which narrower files are made")
    spec = read_spec(path.parent)
    try:
        model = onnx.load(path)
    except DecodeError as exc:
        raise ExportError(f"{path}: {exc}") from exc
    return _Parent(path, model, spec, dissect(model.graph))


def _write(
    parent: _Parent,
    name: str,
    make: Callable[[Path], Run],
    shown: Sequence[NDArray[np.uint8]],
    learnt: Mapping[str, str] = {},
) -> NarrowFile:
    with staging(parent.path.parent) as folder:
        run = make(folder / name)
        reference = OnnxSession(parent.path).run
        agreements = {
            shape_hw: agreement(reference, _finite(run, name), [pictures(shape_hw, shown)])
            for shape_hw in parent.spec.input_shapes
        }
        size = sum(file.stat().st_size for file in folder.iterdir())
        _write_passport(parent, folder / name, run, learnt)
        # Sorted, weights come before the file by which they are found: .bin, .xml, .xml.passport.json.
        for file in sorted(folder.iterdir()):
            file.replace(parent.path.with_name(file.name))
    logger.info("%s: %.1f MB", name, size / 1e6)
    return NarrowFile(parent.path.with_name(name), size, agreements)


def _write_passport(parent: _Parent, file: Path, run: Run, learnt: Mapping[str, str]) -> None:
    """What is quantised or rounded answers the known images in its own way, which is what it is held to later."""
    openvino = file.suffix == ".xml"
    own = [known_image(run, shape_hw) for shape_hw in parent.spec.input_shapes]
    known = read_passport(parent.path)
    passport = describe_engine(
        file,
        parent.spec,
        precision="int8" if "int8" in file.name else "fp16",
        versions={"openvino": OpenvinoSession(file).version, "nncf": version("nncf")} if openvino else VERSIONS,
        origin={**(known.origin if known else parent.spec.origin), **learnt},
        known_images=own,
    )
    write_passport(file, passport)


def _finite(run: Run, name: str) -> Run:
    def checked(images: NDArray[np.uint8]) -> Answers:
        answers = run(images)
        if not (np.isfinite(answers.boxes).all() and np.isfinite(answers.scores).all()):
            height, width = images.shape[1:3]
            raise ExportError(f"{name} answers with numbers that are not finite at {height}x{width}")
        return answers

    return checked


def _some_pixels(dataset: CocoDataset | None) -> list[NDArray[np.uint8]]:
    return [read_pixels(image) for image in dataset.images[:_SHOWN]] if dataset else []
