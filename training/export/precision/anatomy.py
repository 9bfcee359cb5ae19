"""The served graph's two halves: the network, which may be narrower than float32, and the decode, which may not.

The network is every convolution and all that one of them reads; the decode is the rest: sigmoids, boxes, top-k. A
convolution is called by its weights, as in a checkpoint: ``head.lead.0``, ``rows.stem1.conv``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from training.export.session import ExportError

_PREFIX, _SUFFIX = "network.", ".weight"


@dataclass(frozen=True, slots=True)
class Convolution:
    """One node, by its name in the graph and by that of its weights."""

    node: str
    name: str


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Names of nodes. network: the convolutions among them. Both halves in the graph's order."""

    convolutions: tuple[Convolution, ...]
    network: frozenset[str]
    decode: tuple[str, ...]

    def chosen(self, patterns: Sequence[str]) -> tuple[str, ...]:
        """The nodes of the convolutions that any pattern names. Raises ExportError for one that names none."""
        for pattern in patterns:
            if not any(fnmatchcase(convolution.name, pattern) for convolution in self.convolutions):
                known = ", ".join(convolution.name for convolution in self.convolutions[:4])
                raise ExportError(f"no convolution is called {pattern!r}; they are {known} ...")
        return tuple(
            convolution.node
            for convolution in self.convolutions
            if any(fnmatchcase(convolution.name, pattern) for pattern in patterns)
        )


def dissect(graph: GraphProto) -> Anatomy:
    """Tell the halves apart. Raises ExportError for a graph without convolutions."""
    makers = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if not convolutions:
        raise ExportError("the graph has no convolution")
    network = _with_ancestors(convolutions, makers)
    return Anatomy(
        convolutions=tuple(Convolution(node.name, _called(node.input[1])) for node in convolutions),
        network=frozenset(network),
        decode=tuple(node.name for node in graph.node if node.name not in network),
    )


def widen_kernels(model: ModelProto) -> None:
    """Store as float32, in place, every kernel that the export stored as FP16 behind a Cast; no number changes."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            tensor = stored[node.input[0]]
            values = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    graph.ClearField("node")
    graph.node.extend(kept)


def _with_ancestors(nodes: Iterable[NodeProto], makers: dict[str, NodeProto]) -> set[str]:
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found.add(node.name)
            waiting.extend(makers[name] for name in node.input if name in makers)
    return found


def _called(weight: str) -> str:
    return weight.removeprefix(_PREFIX).removesuffix(_SUFFIX)
