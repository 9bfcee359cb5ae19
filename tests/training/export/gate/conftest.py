"""A small set whose objects are what the small network finds, so that its AP is known to be high."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
import torch

from service.vision.letterbox import Letterbox
from service.vision.postprocess import PostprocessOptions, postprocess
from service.vision.spec import generate_image
from training.checkpoint import Checkpoint
from training.config import Quantisation
from training.data import CocoDataset
from training.export import export_checkpoint
from training.export.card import CardFacts
from training.export.exported import open_exported
from training.export.gate import Request
from training.export.gate.parent import Parent, score_parent
from training.export.gate.staged import read_staged
from training.export.gate.subject import Subject, choose_pictures, stretch
from training.export.precision import write_integers

IMAGES = 6
SHAPES = ((64, 96), (96, 64))


def edited(checkpoint: Path, out: Path, change: Callable[[torch.Tensor], None]) -> Path:
    """The checkpoint with ``change`` done to the head's weights and biases, (3 anchors, 5 + 3 channels, ...)."""
    good = Checkpoint.load(checkpoint)
    rows = {key: value.clone() for key, value in good.ema.items()}
    for key, value in rows.items():
        if key.endswith(("conv.weight", "conv.bias")) and len(value) == 24:
            change(value.view(3, 8, -1))
    replace(good, ema=rows).save(out)
    return out


@pytest.fixture(scope="session")
def parent(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network with boxes about as large as its anchors; at random some are a hair's breadth high."""

    def calm(head: torch.Tensor) -> None:
        head[:, :4] *= 0.05

    return edited(checkpoint, tmp_path_factory.mktemp("parent") / "best.pt", calm)


@pytest.fixture(scope="session")
def staged(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It is exported, and nobody serves it yet."""
    return export(parent, tmp_path_factory.mktemp("staged"))


@pytest.fixture(scope="session")
def damaged(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged model that is whole, but whose weights know nothing of the last class any more."""

    def forget(head: torch.Tensor) -> None:
        head[:, 7] = -20.0 if head.shape[-1] == 1 else 0.0

    folder = tmp_path_factory.mktemp("damaged")
    return export(edited(parent, folder / "damaged.pt", forget), folder / "staging")


def export(checkpoint: Path, repository: Path) -> Path:
    facts = CardFacts(limits=("Daylight only.",))
    report = export_checkpoint(
        checkpoint, name="small", repository=repository, shapes=SHAPES, max_candidates=100, facts=facts
    )
    return report.folder.parent


@pytest.fixture(scope="session")
def seen_set(staged: Path, tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """Generated pictures of both shapes; the objects are the network's best few boxes of each class."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "images").mkdir()
    infer = open_exported(staged / "1" / "model.onnx").infer
    images, boxes = [], []
    for image_id in range(IMAGES):
        shape_hw = SHAPES[image_id % 2]
        pixels = generate_image(100 + image_id, shape_hw)
        cv2.imwrite(str(folder / "images" / f"{image_id}.png"), pixels[..., ::-1])
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": shape_hw[0], "width": shape_hw[1]})
        found = postprocess(infer(pixels[None])[0], Letterbox.fit(shape_hw, shape_hw), PostprocessOptions(0.05))
        for class_id in range(3):
            for box in found.boxes[found.class_ids == class_id][:2].tolist():
                xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                row = {"id": len(boxes) + 1, "image_id": image_id, "category_id": class_id + 1, "bbox": xywh}
                boxes.append(row | {"area": xywh[2] * xywh[3], "iscrowd": 0})
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(("Ambulance", "Bus | Coach", "Motorcycle"))]
    table = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "val.json").write_text(json.dumps(table))
    return CocoDataset.open(folder / "val.json")


@pytest.fixture(scope="session")
def quantised(staged: Path, seen_set: CocoDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staged model with both INT8 files."""
    model = tmp_path_factory.mktemp("quantised") / "small"
    shutil.copytree(staged, model)
    write_integers(model / "1" / "model.onnx", seen_set, Quantisation())
    return model


@pytest.fixture(scope="session")
def parent_found(staged: Path, seen_set: CocoDataset) -> Parent:
    return score_parent(read_staged(staged), Request(staged, staged, seen_set, "val.json"))


@pytest.fixture(scope="session")
def subject(staged: Path, seen_set: CocoDataset, parent_found: Parent) -> Subject:
    found = parent_found.detections
    pictures = choose_pictures(seen_set, found)
    infer = open_exported(staged / "1" / "model.onnx").infer
    return Subject("small", SHAPES, seen_set, found, pictures, stretch(infer, pictures, SHAPES))
