"""From an exported ONNX file to a plan in a repository of its own, which tritonserver and the gateway both read.

    <target>/<name>/  config.pbtxt  spec.json  labels.txt  MODEL_CARD.md
    <target>/<name>/<version>/  model.fp16.plan  model.fp16.plan.passport.json  model.onnx  spec.json

A plan belongs to one kind of GPU and one TensorRT, so it stays out of the repository that all machines share. Timings
of kernels are kept beside it and make the next build faster. What TensorRT would refuse is refused before it is asked.
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, numpy_helper
from tritonclient.grpc import model_config_pb2

from service.vision.spec import ModelSpec
from training.export.passports import describe_engine, read_passport, read_spec, sha256_of, write_passport
from training.export.repository import config_text, staging
from training.export.rewrite import EVERYWHERE
from training.export.session import ExportError
from training.export.tensorrt.builder import Builder, Order
from training.export.tensorrt.profiles import Profile, profiles_for
from training.export.tensorrt.progress import BuildProgress

_QUANTISERS = {"QuantizeLinear", "DequantizeLinear"}
_TIMINGS = "timings-{tensorrt}-{architecture}.cache"


@dataclass(frozen=True, slots=True)
class Options:
    """batches: see ``profiles_for``. level: 0 to 5, how long TensorRT looks for faster kernels."""

    batches: tuple[int, ...] = (1, 8)
    workspace_bytes: int = 4 << 30
    level: int = 3


@dataclass(frozen=True, slots=True)
class Compilation:
    """A plan in its repository."""

    plan: Path
    size: int
    seconds: float
    profiles: tuple[Profile, ...]
    versions: dict[str, str]


def compile_plan(
    source: Path, target: Path, builder: Builder, options: Options, progress: BuildProgress
) -> Compilation:
    """Build ``source`` (model.onnx, model.fp16.onnx, model.int8.onnx) into the repository ``target``.

    Raises ExportError; nothing is in the repository then that was not there before.
    """
    source = source.resolve()  # names of folders are the model's and the version's
    spec, model = _read(source)
    if target.resolve() in source.parents:
        raise ExportError(f"{target}: plans belong to one GPU, so into a repository of their own")
    check_for_tensorrt(model)
    precision = source.stem.partition(".")[2] or "f32"
    profiles = profiles_for(spec.input_shapes, options.batches)
    timings = target / _TIMINGS.format(**builder.versions)
    order = Order(
        onnx=source.read_bytes(),
        profiles=profiles,
        timings=timings.read_bytes() if timings.is_file() else b"",
        workspace_bytes=options.workspace_bytes,
        optimisation_level=options.level,
    )
    started = time.monotonic()
    with progress:
        built = builder.build(order, progress)
    seconds = time.monotonic() - started
    with staging(target) as folder:
        plan = folder / f"model.{precision}.plan"
        plan.write_bytes(built.plan)
        (folder / timings.name).write_bytes(built.timings)
        (folder / timings.name).replace(timings)
        papers = read_passport(source)
        origin = papers.origin if papers else spec.origin
        known = papers.known_images if papers else ()
        passport = describe_engine(
            plan, spec, precision=precision, versions=builder.versions, origin=origin, known_images=known
        )
        write_passport(plan, passport)
        placed = _place(folder, source, target, plan_config(spec, plan.name, profiles, precision))
    return Compilation(placed / plan.name, len(built.plan), seconds, profiles, builder.versions)


def check_for_tensorrt(model: ModelProto) -> None:
    """Refuse what TensorRT 10 and 11 would: foreign operations, zero points, unsigned bytes. Raises ExportError."""
    if foreign := sorted({node.domain + node.op_type for node in model.graph.node} - EVERYWHERE - _QUANTISERS):
        raise ExportError(f"TensorRT does not take {', '.join(foreign)}")
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in _QUANTISERS or len(node.input) < 3:
            continue
        zero = constants.get(node.input[2])
        if zero is None or zero.data_type != TensorProto.INT8 or numpy_helper.to_array(zero).any():
            raise ExportError(f"{node.name} is not symmetric in signed bytes, which TensorRT asks for")


def plan_config(spec: ModelSpec, plan: str, profiles: Sequence[Profile], precision: str) -> str:
    """Return config.pbtxt for Triton's TensorRT backend, one instance that has all profiles."""
    config = text_format.Parse(config_text(spec), model_config_pb2.ModelConfig())
    config.backend = "tensorrt"
    config.default_model_filename = plan
    config.max_batch_size = max(profile.most for profile in profiles)
    group = config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_GPU, count=1)
    group.profile.extend(str(index) for index in range(len(profiles)))
    config.parameters["precision"].string_value = precision
    text: str = text_format.MessageToString(config)
    return f"# Written by yolov7-training compile.\n{text}"


def _read(source: Path) -> tuple[ModelSpec, ModelProto]:
    """Of a file that its passport vouches for, or the spec for model.onnx."""
    spec, passport = read_spec(source.parent), read_passport(source)
    if passport is None and source.name != "model.onnx":
        raise ExportError(
            f"{source} has no passport, so nothing says what it was made of: halve and quantise write one"
        )
    if passport is not None and passport.sha256.get(source.name) != sha256_of(source):
        raise ExportError(f"{source} is not the file that its papers speak of")
    if passport is not None and passport.made_from != spec.sha256:
        raise ExportError(f"{source} was made from another model.onnx than the one beside it")
    try:
        return spec, onnx.load(source)
    except DecodeError as exc:
        raise ExportError(f"{source}: {exc}") from exc


def _place(folder: Path, source: Path, target: Path, config: str) -> Path:
    """Move what was made to its place, with the model's papers, the plan's passport after the plan; return where."""
    model, version = source.parent.parent, source.parent
    place = target / model.name / version.name
    place.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.iterdir()):
        file.replace(place / file.name)
    for file in (version / "model.onnx", version / "spec.json", model / "labels.txt", model / "MODEL_CARD.md"):
        if file.is_file():
            _link(file, target / file.relative_to(model.parent))
    (place.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    _link(version / "spec.json", place.parent / "spec.json")
    return place


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
