"""What torch exports, said in operations that ONNX Runtime, OpenVINO and TensorRT have alike.

torch writes a division of integers that is right for negative ones too, with operations on booleans that TensorRT may
refuse; indices are never negative. It transposes the input's bytes, which TensorRT can only cast. Nothing here changes
a number.
"""

from typing import Any

import onnx
from onnx import ModelProto, TensorProto
from onnxscript.rewriter import RewriteRule, rewrite

from training.export.session import ExportError

EVERYWHERE = frozenset(
    {
        *("Add", "Cast", "Concat", "Conv", "Div", "Expand", "Gather", "GatherElements", "LeakyRelu", "MaxPool", "Mul"),
        *("Pow", "Range", "ReduceMax", "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Split", "Squeeze", "Sub"),
        *("TopK", "Transpose", "Unsqueeze"),
    }
)


def _floor_division(op: Any, x: Any, divisor: Any, zero: Any, true: Any) -> Any:
    negative = op.Equal(op.Less(x, zero), true)
    return op.Sub(op.Div(x, divisor), op.Cast(op.And(negative, op.Cast(op.Mod(x, divisor)))))


def _division(op: Any, x: Any, divisor: Any, **_: Any) -> Any:
    return op.Div(x, divisor)


def _cast_after_transpose(op: Any, images: Any) -> Any:
    return op.Cast(op.Transpose(images, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)


def _cast_before_transpose(op: Any, images: Any) -> Any:
    return op.Transpose(op.Cast(images, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])


def plain(model: ModelProto) -> ModelProto:
    """Return ``model`` rewritten. Raises ExportError if an operation is left that not every engine has."""
    rules = [RewriteRule(_floor_division, _division), RewriteRule(_cast_after_transpose, _cast_before_transpose)]
    rewritten: ModelProto = rewrite(model, pattern_rewrite_rules=rules)
    if foreign := sorted({node.domain + node.op_type for node in rewritten.graph.node} - EVERYWHERE):
        raise ExportError(f"the exported graph needs {', '.join(foreign)}, which not every engine has")
    readers = {node.op_type for node in rewritten.graph.node if rewritten.graph.input[0].name in node.input}
    if not readers <= {"Cast", "Shape"}:
        raise ExportError(f"the exported graph gives bytes to {', '.join(sorted(readers))}; TensorRT only casts them")
    return onnx.shape_inference.infer_shapes(rewritten)
