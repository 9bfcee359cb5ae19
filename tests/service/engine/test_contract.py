"""Triton's messages, built by hand: what is read out of them and what is refused."""

import json

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferResult, model_config_pb2, service_pb2

from service.engine.contract import Contract, candidates, engine_file, override, passport_of
from service.errors import EngineNonsense

CONTRACT = Contract("images", ("boxes", "scores", "classes", "predictions"), 2)


def graph_config() -> model_config_pb2.ModelConfig:
    config = model_config_pb2.ModelConfig(name="blocks", max_batch_size=4)
    config.input.add(name="images", data_type=model_config_pb2.TYPE_UINT8, dims=[-1, -1, 3])
    for name, dims in (("boxes", [2, 4]), ("scores", [2])):
        config.output.add(name=name, data_type=model_config_pb2.TYPE_FP32, dims=dims)
    for name in ("classes", "predictions"):
        config.output.add(name=name, data_type=model_config_pb2.TYPE_INT32, dims=[2])
    return config


def answer(count: int = 1, **changed: np.ndarray) -> service_pb2.ModelInferResponse:
    arrays = {"boxes": np.ones((count, 2, 4), np.float32), "scores": np.ones((count, 2), np.float32)}
    arrays |= {name: np.zeros((count, 2), np.int32) for name in ("classes", "predictions")}
    response = service_pb2.ModelInferResponse()
    for name, array in (arrays | changed).items():
        kind = {"f": "FP", "i": "INT"}[array.dtype.kind] + str(array.itemsize * 8)
        response.outputs.add(name=name, datatype=kind, shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response


def test_a_served_graph_is_recognised():
    assert Contract.of_config(graph_config()) == CONTRACT


def test_other_models_have_no_contract():
    floats, shuffled = graph_config(), graph_config()
    floats.input[0].data_type = model_config_pb2.TYPE_FP32
    shuffled.output[1].dims[:] = [3]
    for config in (model_config_pb2.ModelConfig(), floats, shuffled):
        assert Contract.of_config(config) is None


def test_versions_are_named_in_the_override():
    config = graph_config()
    config.version_policy.latest.num_versions = 1
    document = json.loads(override(config, {"10", "9"}))
    assert document["version_policy"] == {"specific": {"versions": ["9", "10"]}}
    assert document["max_batch_size"] == 4
    assert config.version_policy.HasField("latest")


def test_the_passport_falls_back_on_the_default_precision():
    config = graph_config()
    config.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_GPU)
    assert passport_of(config, engine="triton", default_precision="fp16").precision == "fp16"
    config.parameters["precision"].string_value = "int8"
    passport = passport_of(config, engine="triton", default_precision="fp16")
    assert (passport.device, passport.precision, passport.max_batch_size) == ("GPU", "int8", 4)


def test_answers_have_memory_of_their_own():
    first, second = candidates(InferResult(answer(2)), CONTRACT, 2)
    first.scores[:] = 7
    assert second.scores.tolist() == [1, 1]
    assert first.scores.base is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": np.ones((1, 2), np.float64)},
        {"scores": np.ones((1, 3), np.float32)},
        {"scores": np.ones((2, 2), np.float32)},
        {"scores": np.array([[1, np.nan]], np.float32)},
        {"boxes": np.full((1, 2, 4), np.inf, np.float32)},
    ],
    ids=["type", "rows", "images", "nan", "infinite"],
)
def test_answers_that_break_the_contract_are_refused(wrong: dict[str, np.ndarray]):
    with pytest.raises(EngineNonsense):
        candidates(InferResult(answer(**wrong)), CONTRACT, 1)


def test_missing_tensors_and_missing_bytes_are_refused():
    renamed, short = answer(), answer()
    renamed.outputs[1].name = "logits"
    short.raw_output_contents[1] = short.raw_output_contents[1][:-4]
    for broken in (renamed, short):
        with pytest.raises(EngineNonsense):
            candidates(InferResult(broken), CONTRACT, 1)


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ('backend: "tensorrt"', "model.plan"),
        ('backend: "tensorrt" default_model_filename: "model.fp16.plan"', "model.fp16.plan"),
        ('backend: "onnxruntime"', "model.onnx"),
        ('platform: "tensorrt_plan"', "model.plan"),
        ('backend: "openvino"', "model.xml"),
        ('backend: "python"', None),
        (
            'backend: "python" parameters { key: "file" value { string_value: "model.int8.xml" } }',
            "model.int8.xml",
        ),
        ('backend: "tensorrt" default_model_filename: "../../other.plan"', None),
    ],
)
def test_the_file_that_a_server_loads_is_the_one_whose_passport_counts(text: str, file: str | None):
    assert engine_file(text_format.Parse(text, model_config_pb2.ModelConfig())) == file
