"""A strongly typed FP16 graph: the network in FP16, the decode in float32, each type written where it holds.

TensorRT 11 takes no builder flags for precision any more and computes in the types that the graph says; 10 does so too
when asked. Bytes come in as ever and boxes and scores go out as float32: FP16 cannot tell 1,281 from 1,280.5 pixels,
and equal scores would make the order of the top-k a matter of chance.
"""

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from training.export.onnx import check
from training.export.precision.anatomy import dissect, widen_kernels
from training.export.session import ExportError

_SCALES = {"Resize": (1, 2)}  # inputs that are float32 by definition, whatever the data is


def halve(model: ModelProto) -> ModelProto:
    """Return ``model``, as exported, with its network in FP16. Raises ExportError where FP16 cannot hold a number."""
    halved = ModelProto()
    halved.CopyFrom(model)
    widen_kernels(halved)
    graph = halved.graph
    del graph.value_info[:]
    network = dissect(graph).network
    _narrow_constants(graph, network)
    for node in graph.node:
        if node.op_type == "Cast" and node.name in network and _to(node) == TensorProto.FLOAT:
            _cast_to(node, TensorProto.FLOAT16)
    _widen_at_the_border(graph, network, _halves(halved, network))
    halved = onnx.shape_inference.infer_shapes(halved)
    check(halved)
    return halved


def _narrow_constants(graph: GraphProto, network: frozenset[str]) -> None:
    """Give the network FP16 copies of the float constants that it reads; the decode keeps what it had."""
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    made: set[str] = set()
    for node in graph.node:
        if node.name not in network:
            continue
        for place, name in enumerate(node.input):
            if name not in constants or place in _SCALES.get(node.op_type, ()):
                continue
            node.input[place] = f"{name}.fp16"
            if name not in made:
                made.add(name)
                graph.initializer.append(numpy_helper.from_array(_half(constants[name]), f"{name}.fp16"))
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    graph.ClearField("initializer")
    graph.initializer.extend(kept)


def _half(tensor: TensorProto) -> np.ndarray:
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ExportError(f"{tensor.name} has numbers that FP16 cannot hold")
    return half


def _halves(model: ModelProto, network: frozenset[str]) -> frozenset[str]:
    """What the network makes in FP16; its shapes are whole numbers."""
    typed = onnx.shape_inference.infer_shapes(model).graph
    made = {name for node in typed.node if node.name in network for name in node.output}
    halves = {value.name for value in typed.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    return frozenset(made & halves)


def _widen_at_the_border(graph: GraphProto, network: frozenset[str], halves: frozenset[str]) -> None:
    """Cast to float32 what the decode reads of the network, right behind the node that made it."""
    border = {
        name
        for node in graph.node
        if node.name not in network and node.op_type != "Shape"
        for name in node.input
        if name in halves
    }
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.name not in network:
            for place, name in enumerate(node.input):
                if name in border:
                    node.input[place] = f"{name}.float"
        nodes.append(node)
        for name in node.output:
            if name in border:
                wide = onnx.helper.make_node("Cast", [name], [f"{name}.float"], f"{name}.widen", to=TensorProto.FLOAT)
                nodes.append(wide)
    graph.ClearField("node")
    graph.node.extend(nodes)


def _to(node: NodeProto) -> int:
    return next(attribute.i for attribute in node.attribute if attribute.name == "to")


def _cast_to(node: NodeProto, kind: int) -> None:
    next(attribute for attribute in node.attribute if attribute.name == "to").i = kind
