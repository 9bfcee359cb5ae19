"""Precision int8 runs another file of the same version, as its passport speaks of it, or says in one line why not."""

import hashlib
import json
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
def int8(stored: StoredModel) -> Path:
    """The file that int8 runs, not quantised, with its passport."""
    file = stored.onnx.with_name("model.int8.xml")
    ov.save_model(ov.Core().read_model(stored.onnx), file)
    parts = (file, file.with_suffix(".bin"))
    passport = replace(
        PAPERS,
        sha256={part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in parts},
        made_from=stored.spec.sha256,
        input_shapes=stored.spec.input_shapes,
        known_images=stored.spec.known_images,
    )
    file.with_name("model.int8.xml.passport.json").write_text(passport.to_json())
    return file


@pytest.fixture
async def engine() -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(EmbeddedOptions(precision="int8", streams=1))
    yield engine
    await engine.aclose()


async def see(engine: EmbeddedEngine, stored: StoredModel) -> None:
    """Its known image comes out right."""
    known = stored.spec.known_images[0]
    target = Target(ModelVersion("blocks", stored.spec.version), known.shape_hw)
    pixels = generate_image(known.seed, known.shape_hw)
    (found,) = await engine.infer(target, [pixels], deadline=time.monotonic() + 10)
    np.testing.assert_allclose(found.scores[: len(known.candidates)], known.candidates.scores, atol=1e-5)


async def test_int8_runs_the_file_of_that_name(engine: EmbeddedEngine, stored: StoredModel, int8: Path):
    stored.onnx.unlink()
    assert (await engine.load(stored)).precision == "int8"
    await see(engine, stored)


async def test_what_is_written_over_a_running_file_changes_nothing(
    engine: EmbeddedEngine, stored: StoredModel, int8: Path
):
    """In place, as `cp` does it; a file mapped into memory would end the whole process here."""
    await engine.load(stored)
    for part in (int8, int8.with_suffix(".bin")):
        with part.open("r+b") as file:
            file.truncate(10)
    await see(engine, stored)
    await engine.unload(ModelVersion("blocks", stored.spec.version))
    with pytest.raises(
        RepositoryError, match=r"^blocks/1/model\.int8\.xml is refused: model\.int8\.xml is not the file"
    ):
        await engine.load(stored)


def shorten(file: Path) -> None:
    data = file.with_suffix(".bin").read_bytes()
    file.with_suffix(".bin").write_bytes(data[: len(data) // 2])


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.with_suffix(".bin").read_bytes())
    data[len(data) // 2] ^= 1
    file.with_suffix(".bin").write_bytes(bytes(data))


def change_passport(path: Path, **changes: object) -> None:
    papers = path.with_name(f"{path.name}.passport.json")
    papers.write_text(json.dumps(json.loads(papers.read_text()) | changes))


DAMAGES = {
    "truncated weights": (shorten, "model.int8.bin is not the file its passport speaks of"),
    "a bit of the weights": (flip_a_bit, "model.int8.bin is not the file its passport speaks of"),
    "no weights": (lambda file: file.with_suffix(".bin").unlink(), "model.int8.bin cannot be read: No such file"),
    "no graph": (lambda file: file.write_text("<net/>"), "model.int8.xml is not the file its passport speaks of"),
    "a passport that leaves the weights out": (
        lambda file: change_passport(file, sha256={file.name: hashlib.sha256(file.read_bytes()).hexdigest()}),
        "its passport has no sha256 of model.int8.bin",
    ),
    "a passport of another file": (
        lambda file: change_passport(file, file="model.xml"),
        "its passport is of model.xml",
    ),
    "made of another model.onnx": (lambda file: change_passport(file, made_from="00"), "made from another model.onnx"),
    "no passport": (
        lambda file: file.with_name(f"{file.name}.passport.json").unlink(),
        "it has no passport, and is not the file its spec speaks of",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_or_foreign_file_is_refused_in_one_line(
    engine: EmbeddedEngine, stored: StoredModel, int8: Path, damage: str
):
    do, said = DAMAGES[damage]
    do(int8)
    with pytest.raises(RepositoryError) as refusal:
        await engine.load(stored)
    assert str(refusal.value).startswith("blocks/1/model.int8.")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


async def test_without_that_file_int8_is_refused(engine: EmbeddedEngine, stored: StoredModel):
    expected = r"^blocks/\d+/model.int8.xml is missing, which precision int8 runs: yolov7-training quantise makes it$"
    with pytest.raises(RepositoryError, match=expected):
        await engine.load(stored)


async def test_another_precision_ignores_that_file(stored: StoredModel):
    stored.onnx.with_name("model.int8.xml").write_text("no graph")
    engine = EmbeddedEngine(EmbeddedOptions(precision="f32", streams=1))
    assert (await engine.load(stored)).precision == "f32"
    await engine.aclose()


async def test_a_file_that_was_quantised_anew_is_taken_over_by_the_next_load(
    engine: EmbeddedEngine, stored: StoredModel, int8: Path
):
    """Until then the one before runs, and says so."""
    before = (await engine.load(stored)).papers
    change_passport(int8, precision="int8 again")
    assert (await engine.load(stored)).papers is before
    await engine.unload(ModelVersion("blocks", stored.spec.version))
    assert (await engine.load(stored)).papers.precision == "int8 again"


def test_a_file_that_was_quantised_anew_is_told_from_the_one_before():
    passports = [Passport("openvino", "CPU", "int8", 1, replace(PAPERS, sha256={"model.int8.bin": it})) for it in "ab"]
    assert passports[0].computes != passports[1].computes
    assert passports[0].computes == replace(passports[0], max_batch_size=8).computes
    assert Passport("openvino", "CPU", "int8", 1).computes != Passport("openvino", "CPU", "f32", 1).computes
