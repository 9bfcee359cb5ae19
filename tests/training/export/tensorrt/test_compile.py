"""From a published model to a repository with a plan: all that is done before and after TensorRT builds."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from onnx import helper, numpy_helper
from rich.console import Console
from tritonclient.grpc import model_config_pb2

from service.vision.passport import EnginePassport
from service.vision.spec import ModelSpec
from training.__main__ import main
from training.export.precision import write_half
from training.export.session import ExportError
from training.export.tensorrt.compile import Compilation, Options, check_for_tensorrt, compile_plan
from training.export.tensorrt.progress import BuildProgress


def compiled(source: Path, target: Path, builder: object, options: Options | None = None) -> Compilation:
    return compile_plan(source, target, builder, options or Options(), BuildProgress(Console(file=io.StringIO())))


@pytest.fixture
def half(model: Path) -> Path:
    return write_half(model).path


def test_the_builder_gets_the_file_and_all_profiles(half: Path, tmp_path: Path, builder) -> None:
    compiled(half, tmp_path / "plans", builder, Options(batches=(1, 8), level=5))
    (order,) = builder.orders
    assert order.onnx == half.read_bytes()
    assert order.timings == b""
    assert order.optimisation_level == 5
    assert [(profile.shape_hw, profile.most) for profile in order.profiles] == [
        *(((64, 96), 1), ((64, 96), 8), ((96, 64), 1), ((96, 64), 8))
    ]


def test_the_repository_is_complete(half: Path, tmp_path: Path, builder) -> None:
    made = compiled(half, tmp_path / "plans", builder)
    folder = tmp_path / "plans" / "small"
    assert made.plan == folder / "1" / "model.fp16.plan"
    assert made.plan.read_bytes() == b"plan 1"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *("config.pbtxt", "spec.json", "labels.txt", "MODEL_CARD.md", "1/model.onnx", "1/spec.json"),
        *("1/model.fp16.plan", "1/model.fp16.plan.passport.json"),
    }
    assert ModelSpec.from_json((folder / "spec.json").read_text()).name == "small"


def test_triton_reads_the_configuration(half: Path, tmp_path: Path, builder) -> None:
    made = compiled(half, tmp_path / "plans", builder, Options(batches=(1, 4)))
    text = (made.plan.parents[1] / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.backend, config.default_model_filename, config.max_batch_size) == ("tensorrt", "model.fp16.plan", 4)
    assert list(config.instance_group[0].profile) == ["0", "1", "2", "3"]
    assert config.parameters["precision"].string_value == "fp16"
    assert [list(tensor.dims) for tensor in config.output] == [[100, 4], [100], [100], [100]]


def test_the_passport_says_where_the_plan_may_run(half: Path, tmp_path: Path, builder) -> None:
    made = compiled(half, tmp_path / "plans", builder)
    passport = EnginePassport.from_json(made.plan.with_name("model.fp16.plan.passport.json").read_text())
    assert (passport.format, passport.precision) == ("tensorrt", "fp16")
    assert passport.versions == builder.versions
    assert passport.known_images


def test_timings_make_the_next_build_faster(model: Path, half: Path, tmp_path: Path, builder) -> None:
    compiled(half, tmp_path / "plans", builder)
    made = compiled(model, tmp_path / "plans", builder)
    assert builder.orders[1].timings == b"timings 1"
    assert (tmp_path / "plans" / "timings-10.7.0-8.9.cache").read_bytes() == b"timings 2"
    assert made.plan.name == "model.f32.plan"


def test_a_build_that_fails_leaves_the_plan_that_was_there(half: Path, tmp_path: Path, builder) -> None:
    made = compiled(half, tmp_path / "plans", builder)
    builder.complaint = "no tactic"
    with pytest.raises(ExportError, match="no tactic"):
        compiled(half, tmp_path / "plans", builder)
    assert made.plan.read_bytes() == b"plan 1"
    assert not list((tmp_path / "plans").glob(".staged-*"))


def test_plans_do_not_lie_among_models_for_all_machines(half: Path, builder) -> None:
    with pytest.raises(ExportError, match="a repository of their own"):
        compiled(half, half.parents[2], builder)


def test_a_file_that_is_not_its_papers_own_is_refused(model: Path, half: Path, tmp_path: Path, builder) -> None:
    half.write_bytes(model.read_bytes())
    with pytest.raises(ExportError, match=r"model.fp16.onnx is not the file that its papers speak of"):
        compiled(half, tmp_path / "plans", builder)
    assert builder.orders == []


def test_a_file_without_a_passport_is_refused(half: Path, tmp_path: Path, builder) -> None:
    half.with_name("model.fp16.onnx.passport.json").unlink()
    with pytest.raises(ExportError, match=r"model\.fp16\.onnx has no passport"):
        compiled(half, tmp_path / "plans", builder)


def test_a_file_of_another_parent_is_refused(half: Path, tmp_path: Path, builder) -> None:
    """The version's model.onnx was exported anew; the FP16 file beside it still is of the one before."""
    spec = json.loads(half.with_name("spec.json").read_text())
    model = half.with_name("model.onnx")
    model.write_bytes(model.read_bytes() + b"\0\0")
    with pytest.raises(ExportError, match=r"model\.onnx is not the file that spec\.json beside it speaks of"):
        compiled(half, tmp_path / "plans", builder)
    spec["sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()
    half.with_name("spec.json").write_text(json.dumps(spec))
    with pytest.raises(ExportError, match=r"model\.fp16\.onnx was made from another model\.onnx"):
        compiled(half, tmp_path / "plans", builder)
    assert builder.orders == []


def test_names_of_folders_are_found_from_within_them(
    half: Path, tmp_path: Path, builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(half.parent)
    assert compiled(Path(half.name), tmp_path / "plans", builder).plan == tmp_path / "plans/small/1/model.fp16.plan"


def test_zero_points_and_foreign_operations_are_refused_before_a_build() -> None:
    zero = numpy_helper.from_array(np.array(3, np.int8), "zero")
    node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], name="quantise")
    model = helper.make_model(helper.make_graph([node], "graph", [], [], [zero]))
    with pytest.raises(ExportError, match="quantise is not symmetric in signed bytes"):
        check_for_tensorrt(model)
    foreign = helper.make_model(helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "graph", [], []))
    with pytest.raises(ExportError, match="TensorRT does not take NonZero"):
        check_for_tensorrt(foreign)


def test_without_tensorrt_the_command_says_where_plans_are_built(
    half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(half), "--repository", str(tmp_path / "plans")]) == 1
    error = capsys.readouterr().err
    assert "TensorRT cannot be imported" in error
    assert "inside NVIDIA's image" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "plans").exists()
