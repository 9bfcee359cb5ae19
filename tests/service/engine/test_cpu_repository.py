"""deploy/triton/cpu_repository.py: a repository for a server without a GPU, from the shipped one."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from service.engine.protocol import ModelVersion, Target
from service.engine.repository import open_model
from service.errors import RepositoryError
from service.vision.spec import generate_image


@pytest.fixture(scope="module")
def converted(deploy_script: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    target = tmp_path_factory.mktemp("cpu")
    assert deploy_script("cpu_repository").main([str(repository), str(target), "--precision", "f32"]) == 0
    return target


def read(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_tensors_and_warm_up_stay_and_the_backend_changes(repository: Path, converted: Path):
    before, after = (read(root / "vehicles" / "config.pbtxt") for root in (repository, converted))
    for kept in ("input", "output", "max_batch_size", "model_warmup"):
        assert getattr(before, kept) == getattr(after, kept)
    assert after.backend == "python"
    assert after.parameters["precision"].string_value == "f32"
    assert not after.dynamic_batching.HasField("default_queue_policy")


def test_the_embedded_engine_reads_the_same_folder(repository: Path, converted: Path):
    for version in (None, "1"):
        assert open_model(converted, "vehicles", version).spec.to_json() == (
            open_model(repository, "vehicles", version).spec.to_json()
        )


def test_a_second_run_replaces_the_first(deploy_script: Callable[[str], Any], repository: Path, converted: Path):
    script = deploy_script("cpu_repository")
    again = script.convert(repository, converted, script.Choice("f32", instances=1, streams=2))
    assert again == ["hit-uav", "vehicles"]
    assert [read(converted / name / "config.pbtxt").instance_group[0].count for name in again] == [1, 1]


def test_a_folder_without_models_is_refused(deploy_script: Callable[[str], Any], tmp_path: Path):
    script = deploy_script("cpu_repository")
    with pytest.raises(script.RepositoryError, match="no model"):
        script.convert(tmp_path, tmp_path / "target", script.Choice("f32", instances=1, streams=1))


@pytest.mark.anyio
async def test_the_shipped_model_sees_its_known_images(
    converted: Path, triton_server: Callable[..., Any], make_engine: Callable[..., Any]
):
    engine = await make_engine(triton_server(converted).url)
    stored = open_model(converted, "vehicles")
    assert (await engine.load(stored)).max_batch_size == 16
    for known in stored.spec.known_images:
        target = Target(ModelVersion("vehicles", "1"), known.shape_hw)
        image = generate_image(known.seed, known.shape_hw)
        (found,) = await engine.infer(target, [image], deadline=time.monotonic() + 10)
        np.testing.assert_allclose(found.scores[: len(known.candidates)], known.candidates.scores, atol=1e-3)


@pytest.mark.anyio
async def test_a_quantised_file_is_served_and_held_to_its_own_passport(
    deploy_script: Callable[[str], Any],
    repository: Path,
    tmp_path: Path,
    triton_server: Callable[..., Any],
    make_engine: Callable[..., Any],
):
    assert deploy_script("cpu_repository").main([str(repository), str(tmp_path), "--precision", "int8"]) == 0
    engine = await make_engine(triton_server(tmp_path).url)
    stored = open_model(tmp_path, "vehicles")
    passport = await engine.load(stored)
    assert (passport.precision, passport.papers.file) == ("int8", "model.int8.xml")
    for known in passport.papers.known_images:
        target = Target(ModelVersion("vehicles", "1"), known.shape_hw)
        image = generate_image(known.seed, known.shape_hw)
        (found,) = await engine.infer(target, [image], deadline=time.monotonic() + 10)
        np.testing.assert_allclose(found.scores[: len(known.candidates)], known.candidates.scores, atol=0.02)


@pytest.mark.anyio
async def test_a_file_that_is_not_its_passports_own_is_refused_before_a_server_is_asked(
    deploy_script: Callable[[str], Any], repository: Path, tmp_path: Path, make_engine: Callable[..., Any]
):
    deploy_script("cpu_repository").main([str(repository), str(tmp_path), "--precision", "int8"])
    weights = tmp_path / "vehicles" / "1" / "model.int8.bin"
    data = weights.read_bytes()
    weights.unlink()  # a link to the shipped one
    weights.write_bytes(data[:-1])
    engine = await make_engine("127.0.0.1:9")
    with pytest.raises(
        RepositoryError, match=r"^vehicles/1/model\.int8\.xml is refused: model\.int8\.bin is not the file"
    ):
        await engine.load(open_model(tmp_path, "vehicles"))


def test_a_model_without_the_file_of_a_precision_is_refused(
    deploy_script: Callable[[str], Any], repository: Path, tmp_path: Path
):
    script = deploy_script("cpu_repository")
    with pytest.raises(
        script.RepositoryError, match=r"/1/model\.fp16\.onnx is missing: yolov7-training halve makes it$"
    ):
        script.convert(repository, tmp_path, script.Choice("fp16", instances=1, streams=1))
    assert list(tmp_path.iterdir()) == []
