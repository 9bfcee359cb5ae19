"""The served graph as one ONNX file: any batch, any input shape, plain operations, kernels stored as FP16.

Convolution kernels are written as FP16 and cast back to FP32 in the graph, which halves the file and leaves the
arithmetic to the engine (a cast of a constant is folded at load). Biases stay FP32. Node metadata is dropped: the
exporter writes source paths of the exporting machine there. This module does not know whether the file is right
(``parity.py``).
"""

import copy
import hashlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from torch import nn
from torch.export import Dim

from training.export.rewrite import plain
from training.export.session import INPUT, OUTPUTS, ExportError
from training.nets import DeployModel

OPSET = 18
ANCHORS_PER_CELL = 3
_EXAMPLE_CELLS = (4, 5)  # of the coarsest level; only traced, never computed


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A written model.onnx."""

    path: Path
    sha256: str
    size: int  # bytes


def write_onnx(model: DeployModel, path: Path, metadata: Mapping[str, str]) -> OnnxFile:
    """Write ``model``, already ``rounded``, to ``path`` with ``metadata`` as its properties. Raises ExportError."""
    proto = plain(trace(model))
    halve_kernels(proto)
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in proto.graph.value_info:
        value.ClearField("metadata_props")
    onnx.helper.set_model_props(proto, dict(metadata))
    check(proto)
    content = proto.SerializeToString(deterministic=True)
    path.write_bytes(content)
    return OnnxFile(path, hashlib.sha256(content).hexdigest(), len(content))


def trace(model: DeployModel) -> ModelProto:
    """Export ``model`` with dynamic batch, height and width. Raises ExportError."""
    stride = model.network.strides[-1]
    height, width = (stride * cells for cells in _EXAMPLE_CELLS)
    images = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    shapes = {0: Dim("batch"), 1: stride * Dim("rows"), 2: stride * Dim("columns")}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)  # it reports each operation of libraries that are not installed
        with warnings.catch_warnings():
            # torch warns of its own use of a deprecated class of its own.
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            program = torch.onnx.export(
                model.eval(),
                (images,),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as exc:
        raise ExportError(f"torch cannot export the model: {str(exc).splitlines()[0]}") from exc
    finally:
        logger.setLevel(level)
    assert program is not None
    return program.model_proto


def rounded(model: DeployModel) -> DeployModel:
    """Return a copy whose kernels hold what the file will store: FP16 values. Raises ExportError on overflow."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name, module in copied.named_modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(module.weight.half())
                if not bool(module.weight.isfinite().all()):
                    raise ExportError(f"{name} has weights that FP16 cannot hold")
    return copied


def halve_kernels(proto: ModelProto) -> None:
    """Store every 4-D FP32 initialiser as FP16 with a Cast behind it, in place; the numbers are ``rounded`` already."""
    casts: list[NodeProto] = []
    for initializer in proto.graph.initializer:
        if initializer.data_type != TensorProto.FLOAT or len(initializer.dims) != 4:
            continue
        name, values = initializer.name, numpy_helper.to_array(initializer)
        half = values.astype(np.float16)
        assert np.array_equal(half, values), f"{name} is not rounded"
        initializer.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.fp16"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    proto.graph.ClearField("node")
    proto.graph.node.extend(nodes)


def check(proto: ModelProto) -> None:
    """Refuse a graph that is invalid or has other inputs and outputs than the contract's. Raises ExportError."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ExportError(f"the exported graph is invalid: {str(exc).splitlines()[0]}") from exc
    names = [value.name for value in (*proto.graph.input, *proto.graph.output)]
    if names != [INPUT, *OUTPUTS]:
        raise ExportError(f"the exported graph has the inputs and outputs {', '.join(names)}")


def check_shapes(model: DeployModel, shapes: Sequence[tuple[int, int]]) -> None:
    """Refuse input shapes (H, W) that the network cannot take or that hold fewer than K predictions.

    ONNX Runtime would answer such a shape with an error, OpenVINO with the answer to the image before.
    """
    strides = model.network.strides
    if not shapes or len(set(shapes)) != len(shapes):
        raise ExportError("input shapes must be given, each once")
    for height, width in shapes:
        if height < 1 or width < 1 or height % strides[-1] or width % strides[-1]:
            raise ExportError(f"{height}x{width}: both sides must be multiples of {strides[-1]}")
        predictions = sum(ANCHORS_PER_CELL * (height // stride) * (width // stride) for stride in strides)
        if predictions < model.max_candidates:
            raise ExportError(
                f"{height}x{width} has {predictions} predictions, fewer than the {model.max_candidates} candidates"
            )
