"""The small published model in a repository that a test may write to, and a set of a few pictures."""

import json
import shutil
from pathlib import Path

import cv2
import pytest

from service.vision.spec import generate_image
from training.data import CocoDataset


@pytest.fixture
def model(published, tmp_path: Path) -> Path:
    """The model.onnx of the small network's version."""
    shutil.copytree(published.repository, tmp_path / "repository")
    return tmp_path / "repository" / "small" / "1" / "model.onnx"


@pytest.fixture(scope="session")
def pictures_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with parts train and val, six pictures each, wide and tall in turn."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "images").mkdir()
    categories = [{"id": number, "name": name} for number, name in enumerate(("Ambulance", "Bus", "Motorcycle"), 1)]
    images = []
    for number in range(6):
        height, width = (48, 80) if number % 2 == 0 else (80, 48)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), generate_image(number, (height, width)))
        images.append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
    table = {"images": images, "annotations": [], "categories": categories}
    for part in ("train", "val"):
        (folder / f"{part}.json").write_text(json.dumps(table))
    return folder


@pytest.fixture(scope="session")
def pictures_set(pictures_folder: Path) -> CocoDataset:
    return CocoDataset.open(pictures_folder / "train.json")
