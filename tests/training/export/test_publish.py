"""The whole export on a small network: what lies in the repository, and what a failure leaves."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from service.vision.spec import ModelSpec, generate_image
from training.checkpoint import Checkpoint, CheckpointError
from training.export import ExportError, export_checkpoint
from training.export.onnx import rounded
from training.export.passports import read_passport
from training.export.session import OnnxSession
from training.nets import VARIANTS, DeployModel, build_network


def test_a_model_folder_is_complete(published) -> None:
    folder = published.repository / "small"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        *("config.pbtxt", "spec.json", "labels.txt", "MODEL_CARD.md", "1/model.onnx", "1/spec.json"),
        "1/model.onnx.passport.json",
    }
    assert [path.name for path in published.repository.iterdir()] == ["small"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_the_spec_describes_the_file(published) -> None:
    text = (published.repository / "small" / "spec.json").read_text()
    spec = ModelSpec.from_json(text)
    assert (spec.name, spec.version, spec.variant, spec.max_candidates) == ("small", "1", "small", 100)
    assert spec.input_shapes == ((64, 96), (96, 64))
    assert spec.sha256 == hashlib.sha256(published.report.onnx.path.read_bytes()).hexdigest()
    assert text == (published.repository / "small" / "1" / "spec.json").read_text()
    assert spec.average_precision == {"AP": 0.5, "AP Ambulance": 0.25}
    assert spec.origin["data"] == "Some photos"


def test_the_passport_is_of_the_file_its_weights_and_its_recipe(published) -> None:
    passport = read_passport(published.report.onnx.path)
    spec = published.report.spec
    assert (passport.file, passport.format, passport.precision) == ("model.onnx", "onnx", "fp16")
    assert passport.sha256 == {"model.onnx": spec.sha256}
    assert (passport.made_from, passport.input_shapes, passport.parent) == (
        *(spec.sha256, spec.input_shapes),
        spec.average_precision,
    )
    assert passport.versions["onnxruntime"] == onnxruntime.__version__
    assert passport.origin["weights_sha256"] == hashlib.sha256(published.checkpoint.read_bytes()).hexdigest()
    assert len(passport.origin["config_sha256"]) == 64


def test_the_known_images_are_answered_as_the_spec_says(published) -> None:
    session = OnnxSession(published.report.onnx.path)
    assert [known.shape_hw for known in published.report.spec.known_images] == [(64, 96), (96, 64)]
    for known in published.report.spec.known_images:
        found = session.run(generate_image(known.seed, known.shape_hw)[None]).image(0, len(known.candidates))
        np.testing.assert_allclose(found.boxes, known.candidates.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, known.candidates.scores, atol=1e-5)
        assert known.candidates.scores[0] > 0.01


def test_triton_reads_the_configuration(published) -> None:
    text = (published.repository / "small" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert (config.name, config.backend) == ("small", "onnxruntime")
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("images", [-1, -1, 3])]
    assert [(tensor.name, list(tensor.dims)) for tensor in config.output] == [
        *(("boxes", [100, 4]), ("scores", [100]), ("classes", [100]), ("predictions", [100]))
    ]
    assert config.HasField("dynamic_batching")
    assert [list(warm.inputs["images"].dims) for warm in config.model_warmup] == [[64, 96, 3], [96, 64, 3]]


def test_the_card_tells_facts_and_gaps(published) -> None:
    card = (published.repository / "small" / "MODEL_CARD.md").read_text()
    assert "| data | Some photos |" in card
    assert "| licence of the data | not recorded |" in card
    assert "| epochs | 12 |" in card
    assert "| taken after epoch | 3 |" in card
    assert "| AP Ambulance | 25.0 |" in card
    assert "Bus \\| Coach" in card
    assert "- Daylight only." in card


def test_labels_are_one_a_line(published) -> None:
    assert (published.repository / "small" / "labels.txt").read_text() == "Ambulance\nBus | Coach\nMotorcycle\n"


def refuse(checkpoint: Path, repository: Path, match: str, **changes: object) -> None:
    arguments = {"name": "small", "shapes": [(64, 96)], "max_candidates": 100, **changes}
    with pytest.raises((ExportError, CheckpointError), match=match):
        export_checkpoint(checkpoint, repository=repository, **arguments)
    assert not repository.exists() or list(repository.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"shapes": [(64, 100)]}, "64x100: both sides must be multiples of 32"),
        ({"shapes": [(64, 64), (32, 32)]}, "32x32 has 63 predictions, fewer than the 100 candidates"),
        ({"shapes": []}, "must be given"),
        ({"shapes": [(64, 64), (64, 64)]}, "each once"),
        ({"shapes": [(0, 64)]}, "0x64"),
        ({"max_candidates": 4000}, "3840"),
        ({"max_candidates": 0}, "3840"),
        ({"name": "../escape"}, "no model name"),
        ({"name": ""}, "no model name"),
    ],
)
def test_what_cannot_be_served_is_refused(checkpoint: Path, tmp_path: Path, changes: dict, match: str) -> None:
    refuse(checkpoint, tmp_path / "repository", match, **changes)


def test_weights_that_fp16_cannot_hold_leave_nothing(checkpoint: Path, tmp_path: Path) -> None:
    good = Checkpoint.load(checkpoint)
    good.weights["rows.stem1.conv.weight"][:] = 1e6
    good.save(tmp_path / "large.pt")
    refuse(tmp_path / "large.pt", tmp_path / "repository", "FP16")


def test_a_missing_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    refuse(tmp_path / "none.pt", tmp_path / "repository", "No such file")


def test_averaged_weights_are_exported(published) -> None:
    checkpoint = Checkpoint.load(published.checkpoint)
    network = build_network(VARIANTS["small"], num_classes=3, form="training")
    network.load_state_dict(checkpoint.ema)
    images = generate_image(5, (64, 96))[None]
    with torch.inference_mode():
        scores = rounded(DeployModel(network, 100).eval())(torch.from_numpy(images))[1]
    np.testing.assert_allclose(OnnxSession(published.report.onnx.path).run(images).scores, scores, atol=1e-5)


def test_the_spec_is_plain_json(published) -> None:
    document = json.loads((published.repository / "small" / "spec.json").read_text())
    assert document["precision"] == "fp16"
