"""The ONNX file: small, plain, the same for every shape and batch, free of the machine that wrote it."""

import copy

import numpy as np
import onnx
import openvino
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from service.vision.spec import generate_image
from training.export.onnx import check, halve_kernels, rounded, write_onnx
from training.export.parity import check_parity, compare, pictures, torch_run
from training.export.rewrite import EVERYWHERE, plain
from training.export.session import Answers, ExportError, OnnxSession
from training.nets import VARIANTS, DeployModel, build_network


@pytest.fixture(scope="module")
def proto(published) -> onnx.ModelProto:
    return onnx.load(published.report.onnx.path)


def test_only_operations_that_every_engine_has(proto: onnx.ModelProto) -> None:
    assert {node.op_type for node in proto.graph.node} <= EVERYWHERE
    assert {entry.domain for entry in proto.opset_import} == {""}
    assert not proto.functions


def test_bytes_are_cast_before_anything_else(proto: onnx.ModelProto) -> None:
    readers = [node.op_type for node in proto.graph.node if "images" in node.input]
    assert set(readers) <= {"Cast", "Shape"}
    assert proto.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_kernels_are_stored_in_half_and_the_rest_is_not(proto: onnx.ModelProto) -> None:
    kinds = {len(i.dims) == 4: i.data_type for i in proto.graph.initializer if i.data_type != TensorProto.INT64}
    assert kinds == {True: TensorProto.FLOAT16, False: TensorProto.FLOAT}
    half = {i.name for i in proto.graph.initializer if i.data_type == TensorProto.FLOAT16}
    assert {node.op_type for node in proto.graph.node if half & set(node.input)} == {"Cast"}


def test_batch_height_and_width_are_free_and_the_contract_holds(proto: onnx.ModelProto) -> None:
    def dims(value: onnx.ValueInfoProto) -> list[object]:
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    batch, height, width, channels = dims(proto.graph.input[0])
    assert channels == 3
    assert all(isinstance(side, str) for side in (batch, height, width))
    outputs = {value.name: (dims(value), value.type.tensor_type.elem_type) for value in proto.graph.output}
    assert outputs == {
        "boxes": ([batch, 100, 4], TensorProto.FLOAT),
        "scores": ([batch, 100], TensorProto.FLOAT),
        "classes": ([batch, 100], TensorProto.INT32),
        "predictions": ([batch, 100], TensorProto.INT32),
    }


def test_the_file_says_what_it_is_and_not_where_it_was_made(proto: onnx.ModelProto, published) -> None:
    assert {entry.key: entry.value for entry in proto.metadata_props} == {
        "name": "small",
        "version": "1",
        "variant": "small",
        "classes": '["Ambulance", "Bus | Coach", "Motorcycle"]',
    }
    content = published.report.onnx.path.read_bytes()
    assert b".py" not in content
    assert b"training.nets" not in content
    assert len(content) == published.report.onnx.size


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (64, 64), (160, 224)])
def test_one_file_answers_every_shape_as_torch_does(published, shape: tuple[int, int]) -> None:
    images = np.stack([generate_image(seed, shape) for seed in range(3)])
    found = OnnxSession(published.report.onnx.path).run(images)
    with torch.inference_mode():
        boxes, scores, classes, predictions = rounded(published.model)(torch.from_numpy(images))
    np.testing.assert_allclose(found.scores, scores, atol=1e-5)
    assert found.boxes.dtype == np.float32
    ranked = np.abs(np.diff(scores.numpy(), prepend=2, append=-1)) > 1e-5
    sure = ranked[:, 1:] & ranked[:, :-1]  # no neighbour that might swap places
    assert sure.mean() > 0.5
    np.testing.assert_array_equal(found.classes[sure], classes.numpy()[sure])
    np.testing.assert_array_equal(found.predictions[sure], predictions.numpy()[sure])
    np.testing.assert_allclose(found.boxes[sure], boxes.numpy()[sure], atol=1e-2)


def test_rounding_leaves_the_model_as_it_was(published) -> None:
    before = {key: value.clone() for key, value in published.model.state_dict().items()}
    copied = rounded(published.model)
    assert all(torch.equal(value, before[key]) for key, value in published.model.state_dict().items())
    kernel = next(key for key, value in before.items() if value.dim() == 4 and "anchors" not in key)
    assert torch.equal(copied.state_dict()[kernel], before[kernel].half().float())


@pytest.mark.parametrize("shape", [(64, 96), (96, 64)])
def test_openvino_answers_alike(published, shape: tuple[int, int]) -> None:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(published.report.onnx.path, "CPU", settings)
    images = np.stack([generate_image(seed, shape) for seed in range(3)])
    outputs = compiled(images)
    found = Answers(*(outputs[name] for name in ("boxes", "scores", "classes", "predictions")))
    expected = OnnxSession(published.report.onnx.path).run(images)
    for index in range(3):
        difference = compare(found.image(index), expected.image(index))
        assert difference.unmatched == 0
        assert difference.score < 1e-5
        assert difference.box_px < 1e-2


@pytest.mark.long
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_exported(name: str, tmp_path) -> None:
    model = rounded(DeployModel(build_network(VARIANTS[name], num_classes=4, form="training"), 100).eval())
    write_onnx(model, tmp_path / "model.onnx", {})
    run = torch_run(model)
    check_parity(OnnxSession(tmp_path / "model.onnx").run, stored=run, trained=run, batch=pictures((128, 192)))


@pytest.mark.long
def test_a_single_class_has_its_objectness_as_score(small: str, tmp_path) -> None:
    model = DeployModel(build_network(VARIANTS[small], num_classes=1, form="deploy"), 50).eval()
    write_onnx(rounded(model), tmp_path / "model.onnx", {})
    found = OnnxSession(tmp_path / "model.onnx").run(generate_image(1, (64, 64))[None])
    assert set(found.classes.flatten().tolist()) == {0}
    assert found.scores.shape == (1, 50)


def graph_of(*nodes: onnx.NodeProto, kernel: float = 1.0) -> onnx.ModelProto:
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [1, 4, 4, 3])
    boxes = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 3, 4, 4])
    weights = [numpy_helper.from_array(np.full((3, 3, 1, 1), kernel, np.float32), "kernel")]
    graph = helper.make_graph(list(nodes), "g", [images], [boxes], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


CAST = helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT)
TRANSPOSE = helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2])


def test_operations_that_an_engine_lacks_are_refused() -> None:
    with pytest.raises(ExportError, match="needs NonZero"):
        plain(graph_of(CAST, helper.make_node("NonZero", ["floats"], ["boxes"])))


def test_bytes_must_be_cast_first() -> None:
    swap = helper.make_node("Transpose", ["images"], ["bytes"], perm=[0, 2, 1, 3])
    with pytest.raises(ExportError, match="gives bytes to Transpose"):
        plain(graph_of(swap, helper.make_node("Cast", ["bytes"], ["boxes"], to=TensorProto.FLOAT)))


@pytest.mark.parametrize("value", [7e4, np.inf, np.nan])
def test_kernels_beyond_fp16_are_refused(published, value: float) -> None:
    model = copy.deepcopy(published.model)
    with torch.no_grad():
        next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d)).weight[0, 0, 0, 0] = value
    with pytest.raises(ExportError, match=r"stem1.* FP16 cannot hold"):
        rounded(model)


def test_kernels_are_rounded_before_they_are_halved() -> None:
    conv = helper.make_node("Conv", ["planes", "kernel"], ["boxes"])
    halve_kernels(graph_of(CAST, TRANSPOSE, conv, kernel=0.5))
    with pytest.raises(AssertionError, match="kernel is not rounded"):
        halve_kernels(graph_of(CAST, TRANSPOSE, conv, kernel=0.1))


def test_another_interface_or_an_invalid_graph_is_refused() -> None:
    conv = helper.make_node("Conv", ["planes", "kernel"], ["boxes"])
    with pytest.raises(ExportError, match="has the inputs and outputs images, boxes"):
        check(graph_of(CAST, TRANSPOSE, conv))
    with pytest.raises(ExportError, match="invalid"):
        check(graph_of(CAST, conv))


def test_what_onnx_runtime_refuses_is_one_line(published, tmp_path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ExportError, match="does not load"):
        OnnxSession(tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="does not run"):
        OnnxSession(published.report.onnx.path).run(np.zeros((1, 32, 32, 3), np.uint8))
