"""What Triton says of a model (its ModelConfig), and whether what it answers is what the served graph promises.

Plain functions over tritonclient's own messages; nothing here talks to a server.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc import InferResult, model_config_pb2

from service.engine.protocol import Passport
from service.engine.repository import StoredModel
from service.errors import EngineNonsense, RepositoryError
from service.vision.detections import Candidates
from service.vision.spec import ModelSpec

logger = logging.getLogger(__name__)

# boxes, scores, classes, predictions: see Candidates.
_OUTPUTS = (
    ("FP32", model_config_pb2.TYPE_FP32),
    ("FP32", model_config_pb2.TYPE_FP32),
    ("INT32", model_config_pb2.TYPE_INT32),
    ("INT32", model_config_pb2.TYPE_INT32),
)


@dataclass(frozen=True, slots=True)
class Contract:
    """Tensor names, outputs in the order of Candidates, and the served graph's K."""

    input_name: str
    output_names: tuple[str, ...]
    max_candidates: int

    @classmethod
    def of_spec(cls, spec: ModelSpec) -> "Contract":
        """As the repository has it."""
        return cls(spec.input_name, spec.output_names, spec.max_candidates)

    @classmethod
    def of_config(cls, config: model_config_pb2.ModelConfig) -> "Contract | None":
        """As a server has it; None for a model that is not a served graph."""
        inputs = [(tensor.data_type, list(tensor.dims)) for tensor in config.input]
        if len(config.output) != len(_OUTPUTS) or inputs != [(model_config_pb2.TYPE_UINT8, [-1, -1, 3])]:
            return None
        count = config.output[0].dims[0]
        dims = ([count, 4], [count], [count], [count])
        for tensor, (_, data_type), expected in zip(config.output, _OUTPUTS, dims, strict=True):
            if tensor.data_type != data_type or list(tensor.dims) != expected:
                return None
        return cls(config.input[0].name, tuple(tensor.name for tensor in config.output), count)


def read_config(stored: StoredModel) -> model_config_pb2.ModelConfig:
    """The repository's config.pbtxt of a model. Raises RepositoryError."""
    path: Path = stored.onnx.parent.parent / "config.pbtxt"
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise RepositoryError(f"{stored.spec.name}/config.pbtxt: {why}") from exc
    config.name = config.name or stored.spec.name
    return config


def override(config: model_config_pb2.ModelConfig, versions: Iterable[str]) -> str:
    """The JSON by which a server loads exactly these versions; by itself it would load only the latest."""
    chosen = model_config_pb2.ModelConfig()
    chosen.CopyFrom(config)
    chosen.version_policy.specific.versions[:] = sorted(map(int, versions))
    text: str = json_format.MessageToJson(chosen, preserving_proto_field_name=True, indent=None)
    return text


def engine_file(config: model_config_pb2.ModelConfig) -> str | None:
    """The name of the file that a server loads; None where that cannot be told.

    Of the python backend it is our own entry `parameters { key: "file" }`: to Triton, model.py is the file.
    """
    # Older repositories name the platform instead of the backend.
    usual = {"onnxruntime": "model.onnx", "tensorrt": "model.plan", "openvino": "model.xml"}
    usual |= {"onnxruntime_onnx": "model.onnx", "tensorrt_plan": "model.plan"}
    own = config.parameters["file"].string_value if "file" in config.parameters else ""
    name = own or config.default_model_filename or usual.get(config.backend or config.platform)
    return name if name and Path(name).name == name else None


def passport_of(config: model_config_pb2.ModelConfig, *, engine: str, default_precision: str) -> Passport:
    """What the config says of where and how a model runs; `parameters { key: "precision" }` is our own entry."""
    kinds = {model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) for group in config.instance_group}
    precision = config.parameters["precision"].string_value if "precision" in config.parameters else default_precision
    return Passport(
        engine=engine,
        device="+".join(sorted(kind.removeprefix("KIND_") for kind in kinds)) or "AUTO",
        precision=precision,
        max_batch_size=max(config.max_batch_size, 1),
    )


def candidates(result: InferResult, contract: Contract, count: int) -> list[Candidates]:
    """One per image of a batch of `count`, each with memory of its own.

    Raises EngineNonsense where a tensor is missing, or its type, shape or numbers are none that the graph can give.
    """
    columns = []
    for name, (data_type, _), rest in zip(contract.output_names, _OUTPUTS, ([4], [], [], []), strict=True):
        shape = [count, contract.max_candidates, *rest]
        tensor = result.get_output(name)
        found = "nothing" if tensor is None else f"{tensor.datatype} {list(tensor.shape)}"
        if found != f"{data_type} {shape}":
            raise _nonsense(f"{found} for {name!r}, not {data_type} {shape}")
        try:
            column = result.as_numpy(name)
        except ValueError as exc:
            raise _nonsense(f"too few or too many bytes for {name!r}") from exc
        if data_type == "FP32" and not np.isfinite(column).all():
            raise _nonsense(f"numbers in {name!r} that are not finite")
        columns.append(column)
    return [Candidates(*(np.array(column) for column in row)) for row in zip(*columns, strict=True)]


def _nonsense(answered: str) -> EngineNonsense:
    # Said here, because those who wait are told nothing internal.
    logger.error("Triton answered %s", answered)
    return EngineNonsense("the engine's answer is not what its model promises")
