"""The gate on a small network: what holds is published, what lost a class is not; each through a real service."""

import shutil
from pathlib import Path

import pytest

from service.vision.passport import EnginePassport
from service.vision.spec import ModelSpec
from training.data import CocoDataset
from training.export.gate import Promotion, Request, promote
from training.export.passports import read_passport, sha256_of
from training.export.session import ExportError


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("promoted") / "model_repository"


@pytest.fixture(scope="module")
def promotion(staged: Path, parent: Path, seen_set: CocoDataset, repository: Path) -> Promotion:
    """The small network promoted against its own checkpoint, under another name."""
    return promote(Request(staged, repository, seen_set, "val.json", "found", parent, engines=("f32",)))


def test_an_engine_that_holds_is_published_whole(promotion: Promotion, repository: Path) -> None:
    assert promotion.refusal == ""
    assert promotion.folder == repository / "found" / "1"
    files = {path.name for path in promotion.folder.iterdir()}
    assert files == {"model.onnx", "model.onnx.passport.json", "spec.json", "reference.json"}
    spec = ModelSpec.from_json((promotion.folder / "spec.json").read_text())
    assert (spec.name, spec.version) == ("found", "1")
    assert spec.sha256 == sha256_of(promotion.folder / "model.onnx")
    assert spec.average_precision["AP"] > 0.7


def test_its_passport_tells_what_was_measured_of_it_and_of_its_parent(promotion: Promotion) -> None:
    passport = read_passport(promotion.folder / "model.onnx")
    assert isinstance(passport, EnginePassport)
    (measured,) = passport.measurements
    assert measured.precision == "f32"
    assert measured.average_precision["AP"] == pytest.approx(passport.parent["AP"], abs=0.005)
    assert passport.versions["openvino"] in measured.engine
    assert measured.latency_ms["1"] > 0
    assert measured.latency_ms["8"] > 0
    assert "weights_sha256" in passport.origin
    assert passport.seen.images == 6


def test_the_card_has_the_table_and_the_plot(promotion: Promotion, repository: Path) -> None:
    card = (repository / "found" / "MODEL_CARD.md").read_text()
    assert card.startswith("# found, version 1\n")
    assert "| model.onnx in f32 | " in card
    assert "| parent: checkpoint, torch, f32 | " in card
    assert "- Daylight only." in card
    assert (repository / "found" / "engines.svg").read_text().startswith("<?xml")
    assert [row[0] for row in promotion.table] == ["parent: checkpoint, torch, f32", "model.onnx in f32"]


def test_damaged_weights_are_not_published_and_the_class_is_named(
    damaged: Path, parent: Path, seen_set: CocoDataset, tmp_path: Path
) -> None:
    request = Request(damaged, tmp_path, seen_set, "val.json", checkpoint=parent, engines=("f32",))
    promotion = promote(request)
    assert promotion.folder is None
    assert "class Motorcycle fell by" in promotion.refusal
    assert "class Ambulance" not in promotion.refusal
    assert "noisiest layers head.lead." in promotion.refusal
    assert "\n" not in promotion.refusal
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_the_service_refuses_is_told_in_its_words(
    staged: Path, seen_set: CocoDataset, tmp_path: Path
) -> None:
    shutil.copytree(staged, tmp_path / "small")
    passport = tmp_path / "small" / "1" / "model.onnx.passport.json"
    passport.write_text(passport.read_text().replace(sha256_of(staged / "1" / "model.onnx"), "00"))
    promotion = promote(Request(tmp_path / "small", tmp_path / "out", seen_set, "val.json", engines=("f32",)))
    assert promotion.refusal.startswith("not promoted: f32: small/1/model.onnx is refused: model.onnx is not the file")
    assert not (tmp_path / "out").exists()


def test_a_staged_file_that_its_spec_does_not_speak_of_is_not_tried(
    staged: Path, seen_set: CocoDataset, tmp_path: Path
) -> None:
    shutil.copytree(staged, tmp_path / "small")
    with (tmp_path / "small" / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ExportError, match="is not the file its spec speaks of"):
        promote(Request(tmp_path / "small", tmp_path / "out", seen_set, "val.json"))
