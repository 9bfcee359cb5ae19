"""The strongly typed FP16 graph: types where they belong, answers close to the float32 ones."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from training.export.parity import pictures
from training.export.precision.agreement import agreement
from training.export.precision.anatomy import dissect
from training.export.precision.half import halve
from training.export.session import ExportError, OnnxSession


@pytest.fixture(scope="module")
def original(published) -> ModelProto:
    return onnx.load(published.report.onnx.path)


@pytest.fixture(scope="module")
def halved(original: ModelProto) -> ModelProto:
    return halve(original)


def types_of(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return types | {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}


def test_the_network_is_fp16_throughout(halved: ModelProto) -> None:
    types = types_of(halved)
    for node in halved.graph.node:
        if node.op_type in ("Conv", "LeakyRelu", "MaxPool"):
            assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}, node.name


def test_the_decode_and_the_outputs_are_float32(halved: ModelProto) -> None:
    types = types_of(halved)
    for node in halved.graph.node:
        if node.op_type in ("Sigmoid", "TopK", "Pow"):
            assert types[node.input[0]] == TensorProto.FLOAT, node.name
    assert [types[output.name] for output in halved.graph.output] == [1, 1, 6, 6]
    assert halved.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_casts_are_few(original: ModelProto, halved: ModelProto) -> None:
    stored = sum(tensor.data_type == TensorProto.FLOAT16 for tensor in original.graph.initializer)
    casts = [sum(node.op_type == "Cast" for node in model.graph.node) for model in (original, halved)]
    levels = 3  # each of which leaves the network once
    assert casts[1] == casts[0] - stored + levels


def test_answers_are_close(published, halved: ModelProto, tmp_path: Path) -> None:
    onnx.save(halved, tmp_path / "half.onnx")
    run, reference = OnnxSession(tmp_path / "half.onnx").run, OnnxSession(published.report.onnx.path).run
    found = agreement(reference, run, [pictures(shape) for shape in ((64, 96), (96, 64))])
    assert found.predictions == found.classes == 1
    assert found.boxes_px[1] < 0.5
    assert found.scores[1] < 0.01


def test_the_original_stays_as_it_was(published, original: ModelProto, halved: ModelProto) -> None:
    assert original == onnx.load(published.report.onnx.path)


def test_a_number_that_fp16_cannot_hold_is_named(original: ModelProto) -> None:
    large = ModelProto()
    large.CopyFrom(original)
    head = dissect(large.graph).chosen(["head.lead.0"])
    node = next(node for node in large.graph.node if node.name in head)
    bias = next(tensor for tensor in large.graph.initializer if tensor.name == node.input[2])
    bias.CopyFrom(numpy_helper.from_array(np.full(tuple(bias.dims), 1e6, np.float32), bias.name))
    with pytest.raises(ExportError, match=rf"{bias.name} has numbers that FP16 cannot hold"):
        halve(large)
