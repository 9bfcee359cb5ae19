"""FP16 and INT8 files of the small model, made as a user makes them and run as they are served."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, numpy_helper

from service.vision.passport import FoundEngine, Verdict, check
from service.vision.spec import ModelSpec, generate_image
from training.__main__ import main
from training.config import Quantisation
from training.data import CocoDataset
from training.export.openvino_session import OpenvinoSession
from training.export.passports import read_passport, sha256_of
from training.export.precision import write_half, write_integers
from training.export.session import ExportError, OnnxSession


@pytest.fixture
def recipe() -> Quantisation:
    return Quantisation(images=6)


def test_the_fp16_file_lies_beside_its_parent(model: Path) -> None:
    file = write_half(model)
    assert file.path == model.with_name("model.fp16.onnx")
    assert set(file.agreements) == {(64, 96), (96, 64)}
    assert {path.name for path in model.parent.iterdir()} >= {"model.onnx", "spec.json", "model.fp16.onnx"}
    assert not list(model.parent.glob(".*"))


def test_openvino_runs_the_int8_file(model: Path, pictures_set: CocoDataset, recipe: Quantisation) -> None:
    (file,) = write_integers(model, pictures_set, recipe, ["openvino"])
    assert file.path == model.with_name("model.int8.xml")
    graph = ov.Core().read_model(file.path)
    convolutions = [node for node in graph.get_ops() if node.get_type_name() == "Convolution"]
    quantised = [node.input_value(0).get_node().get_type_name() == "FakeQuantize" for node in convolutions]
    assert len(quantised) == 8
    assert all(quantised)
    assert all(found.predictions > 0.9 for found in file.agreements.values())


def test_the_decode_is_not_quantised(model: Path, pictures_set: CocoDataset, recipe: Quantisation) -> None:
    write_integers(model, pictures_set, recipe, ["openvino"])
    graph = ov.Core().read_model(model.with_name("model.int8.xml"))
    for node in graph.get_ops():
        if node.get_type_name() in ("Sigmoid", "TopK", "Power"):
            sources = {value.get_node().get_type_name() for value in node.input_values()}
            assert "FakeQuantize" not in sources, node.get_friendly_name()


def test_the_qdq_file_is_what_tensorrt_takes(model: Path, pictures_set: CocoDataset, recipe: Quantisation) -> None:
    (file,) = write_integers(model, pictures_set, recipe, ["onnx"])
    graph = onnx.load(file.path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Conv":
            image, weight = makers[node.input[0]], makers[node.input[1]]
            assert (image.op_type, weight.op_type) == ("DequantizeLinear", "DequantizeLinear")
            assert constants[weight.input[0]].dtype == np.int8
            assert len(constants[weight.input[1]]) == len(constants[weight.input[0]])  # a scale per channel
            assert all(constants[bias].dtype == np.float32 for bias in node.input[2:])
    zeros = [constants[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert all(found.predictions > 0.9 for found in file.agreements.values())


def test_what_the_recipe_leaves_wide_is_not_quantised(model: Path, pictures_set: CocoDataset) -> None:
    write_integers(model, pictures_set, Quantisation(images=6, wide=("head.*",)))
    graph = onnx.load(model.with_name("model.int8.onnx")).graph
    wide = [
        tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4
    ]
    assert [name for name in wide if name.endswith(".weight")] == [
        f"network.head.lead.{level}.weight" for level in "012"
    ]
    operations = ov.Core().read_model(model.with_name("model.int8.xml")).get_ops()
    sources = [
        node.input_value(0).get_node().get_type_name() for node in operations if node.get_type_name() == "Convolution"
    ]
    assert sources.count("FakeQuantize") == 5


def test_a_batch_of_openvino_answers_as_its_images(model: Path) -> None:
    session = OpenvinoSession(model)
    images = np.stack([generate_image(seed, (64, 96)) for seed in range(3)])
    together, reference = session.run(images), OnnxSession(model).run(images)
    np.testing.assert_allclose(together.scores, reference.scores, atol=1e-5)
    assert session.run(images[1:2]).image(0).scores.tolist() == together.image(1).scores.tolist()


def test_a_failure_leaves_the_version_as_it_was(model: Path, pictures_set: CocoDataset) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in model.parent.iterdir()}
    with pytest.raises(ExportError, match="no convolution is called"):
        write_integers(model, pictures_set, Quantisation(wide=("tail.*",)))
    assert {path.name: path.stat().st_mtime_ns for path in model.parent.iterdir()} == before


def test_the_same_pictures_make_the_same_files(model: Path, pictures_set: CocoDataset, recipe: Quantisation) -> None:
    """Of the .xml a process of its own: OpenVINO numbers nameless nodes through the life of a process."""
    made = [model.with_name(name) for name in ("model.int8.bin", "model.int8.onnx")]
    found = []
    for _ in range(2):
        write_integers(model, pictures_set, recipe)
        found.append([file.read_bytes() for file in made])
    assert found[0] == found[1]


def test_what_was_made_is_admitted_by_the_service(model: Path, pictures_set: CocoDataset, recipe: Quantisation) -> None:
    write_half(model)
    write_integers(model, pictures_set, recipe)
    spec = ModelSpec.from_json(model.with_name("spec.json").read_text())
    for name, kind in (("model.fp16.onnx", "onnx"), ("model.int8.onnx", "onnx"), ("model.int8.xml", "openvino")):
        passport = read_passport(model.with_name(name))
        assert set(passport.versions) == ({"openvino", "nncf"} if kind == "openvino" else {"onnxruntime", "onnx"})
        digests = {part: sha256_of(model.with_name(part)) for part in passport.sha256}
        found = FoundEngine(name, kind, digests, spec.sha256, spec.input_shapes, passport.versions)
        assert check(passport, found) == Verdict()


@pytest.mark.parametrize("make", [write_half, lambda model: write_integers(model, None, Quantisation())])
def test_another_model_than_the_spec_speaks_of_has_no_narrower_file(
    model: Path, make: Callable[[Path], object]
) -> None:
    model.write_bytes(model.read_bytes() + b"\0\0")
    with pytest.raises(ExportError, match=r"model\.onnx is not the file that spec\.json beside it speaks of"):
        make(model)


def test_only_a_model_onnx_has_narrower_files(model: Path) -> None:
    half = write_half(model).path
    with pytest.raises(ExportError, match=r"model\.fp16\.onnx is not the model\.onnx of a version"):
        write_half(half)


def test_fewer_pictures_than_asked_for_are_told_of(
    model: Path, pictures_set: CocoDataset, caplog: pytest.LogCaptureFixture
) -> None:
    write_integers(model, pictures_set, Quantisation(images=300), ["openvino"])
    assert "ranges are learnt from 6 pictures, the recipe asks for 300" in caplog.text
    assert read_passport(model.with_name("model.int8.xml")).origin["calibration_images"] == "6"


@pytest.mark.parametrize("broken", ["spec.json", "model.onnx.passport.json"])
def test_papers_that_are_not_text_are_one_line(
    model: Path, pictures_folder: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    model.with_name(broken).write_bytes(b"\xff\xfe")
    for arguments in (["halve", str(model)], ["quantise", str(model), "--data", str(pictures_folder)]):
        assert main(arguments) == 1
        assert broken in (error := capsys.readouterr().err).splitlines()[-1]
        assert "Traceback" not in error


def test_the_commands_print_what_they_made(
    model: Path, pictures_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.toml").write_text('images = 4\nranges = "histogram"\n')
    data = ["--data", str(pictures_folder)]
    assert main(["halve", str(model), *data]) == 0
    assert main(["quantise", str(model), *data, "--recipe", str(tmp_path / "own.toml"), "--formats", "openvino"]) == 0
    printed = capsys.readouterr().out.replace("\n", "")
    assert "model.fp16.onnx" in printed
    assert "model.int8.xml" in printed
    assert "64x96" in printed
    passport = json.loads(model.with_name("model.int8.xml.passport.json").read_text())
    assert passport["origin"]["calibration_images"] == "4"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [("images = 0", "images must be at least 1"), ("percentile = 20.0", "percentile"), ("image = 1", "unknown key")],
)
def test_a_wrong_recipe_is_one_line(
    model: Path, pictures_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], recipe: str, said: str
) -> None:
    (tmp_path / "own.toml").write_text(recipe)
    assert main(["quantise", str(model), "--data", str(pictures_folder), "--recipe", str(tmp_path / "own.toml")]) == 1
    assert said in capsys.readouterr().err
