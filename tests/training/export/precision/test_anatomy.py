"""The two halves of the served graph."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from service.vision.spec import generate_image
from training.export.precision.anatomy import dissect, widen_kernels
from training.export.session import ExportError, OnnxSession


def test_every_convolution_is_called_by_its_weights(model: Path) -> None:
    anatomy = dissect(onnx.load(model).graph)
    names = [convolution.name for convolution in anatomy.convolutions]
    assert names[:2] == ["rows.stem1.conv", "rows.stem2.conv"]
    assert names[-3:] == ["head.lead.0", "head.lead.1", "head.lead.2"]


def test_the_decode_has_the_top_k_and_no_convolution(model: Path) -> None:
    graph = onnx.load(model).graph
    anatomy = dissect(graph)
    kinds = {node.op_type for node in graph.node if node.name in anatomy.decode}
    assert {"TopK", "Sigmoid", "GatherElements"} <= kinds
    assert "Conv" not in kinds
    assert len(anatomy.decode) + len(anatomy.network) == len(graph.node)


def test_patterns_choose_convolutions(model: Path) -> None:
    anatomy = dissect(onnx.load(model).graph)
    heads = [convolution.node for convolution in anatomy.convolutions if convolution.name.startswith("head.")]
    assert anatomy.chosen(["head.*"]) == tuple(heads)
    assert anatomy.chosen([]) == ()
    with pytest.raises(ExportError, match=r"no convolution is called 'tail\.\*'; they are rows.stem1.conv"):
        anatomy.chosen(["head.*", "tail.*"])


def test_widened_kernels_compute_the_same(model: Path, tmp_path: Path) -> None:
    wide = onnx.load(model)
    widen_kernels(wide)
    onnx.save(wide, tmp_path / "wide.onnx")
    assert not any(tensor.data_type == TensorProto.FLOAT16 for tensor in wide.graph.initializer)
    images = generate_image(3, (64, 96))[None]
    answers = OnnxSession(model).run(images), OnnxSession(tmp_path / "wide.onnx").run(images)
    np.testing.assert_array_equal(answers[0].scores, answers[1].scores)


def test_a_graph_without_convolutions_is_refused() -> None:
    with pytest.raises(ExportError, match="no convolution"):
        dissect(onnx.GraphProto())
