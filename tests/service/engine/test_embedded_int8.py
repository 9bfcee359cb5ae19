"""Precision int8 runs another file of the same version; one that is not there is refused with the way to make it."""

import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from service.engine.embedded import EmbeddedEngine, EmbeddedOptions
from service.engine.protocol import ModelVersion, Passport, Target
from service.engine.repository import StoredModel, open_model
from service.errors import RepositoryError
from service.vision.passport import EnginePassport
from service.vision.spec import generate_image

pytestmark = pytest.mark.anyio

PAPERS = EnginePassport(
    file="model.int8.xml",
    format="openvino",
    precision="int8",
    sha256={"model.int8.bin": "a"},
    made_from="c",
    input_shapes=((128, 128),),
    versions={},
    origin={},
    parent={},
    measurements=(),
    seen=None,
    known_images=(),
)


@pytest.fixture
def stored(blocks_repository: Path, tmp_path: Path) -> StoredModel:
    shutil.copytree(blocks_repository, tmp_path / "repository")
    return open_model(tmp_path / "repository", "blocks")


@pytest.fixture
async def engine() -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(EmbeddedOptions(precision="int8", streams=1))
    yield engine
    await engine.aclose()


async def test_int8_runs_the_file_of_that_name(engine: EmbeddedEngine, stored: StoredModel):
    ov.save_model(ov.Core().read_model(stored.onnx), stored.onnx.with_name("model.int8.xml"))
    stored.onnx.unlink()
    assert (await engine.load(stored)).precision == "int8"
    known = stored.spec.known_images[0]
    target = Target(ModelVersion("blocks", stored.spec.version), known.shape_hw)
    pixels = generate_image(known.seed, known.shape_hw)
    (found,) = await engine.infer(target, [pixels], deadline=time.monotonic() + 10)
    np.testing.assert_allclose(found.scores[: len(known.candidates)], known.candidates.scores, atol=1e-5)


async def test_without_that_file_int8_is_refused(engine: EmbeddedEngine, stored: StoredModel):
    expected = r"^blocks/\d+/model.int8.xml is missing, which precision int8 runs: yolov7-training quantise makes it$"
    with pytest.raises(RepositoryError, match=expected):
        await engine.load(stored)


async def test_another_precision_ignores_that_file(stored: StoredModel):
    stored.onnx.with_name("model.int8.xml").write_text("no graph")
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32", streams=1))
    assert (await engine.load(stored)).precision == "f32"
    await engine.aclose()


def test_a_file_that_was_quantised_anew_is_told_from_the_one_before():
    passports = [Passport("openvino", "CPU", "int8", 1, replace(PAPERS, sha256={"model.int8.bin": it})) for it in "ab"]
    assert passports[0].computes != passports[1].computes
    assert passports[0].computes == replace(passports[0], max_batch_size=8).computes
    assert Passport("openvino", "CPU", "int8", 1).computes != Passport("openvino", "CPU", "f32", 1).computes
