"""The command trains on a YOLO set, with all that a recipe can ask of the data."""

import json
from pathlib import Path

import cv2
import numpy as np

from training.__main__ import main


def write_set(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True)
        for number in range(4):
            image = rng.integers(0, 90, (64, 80, 3), np.uint8)
            image[16:48, 20:60] = 230
            cv2.imwrite(str(folder / "images" / part / f"{number}.png"), image)
            row = "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n" if number else ""
            (folder / "labels" / part / f"{number}.txt").write_text(row)
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [square]\n")
    return folder


def test_a_yolo_set_trains_with_everything_on(tmp_path):
    settings = {
        "image_size": 64,
        "epochs": 1,
        "batch_size": 2,
        "workers": 1,
        "precision": "fp32",
        "device": "cpu",
        "multi_scale": "true",
        "cache_gib": 0.0,
        "disk_cache": tmp_path / "cache",
        "augmentation.paste_in": 1.0,
        "augmentation.perspective": 0.0005,
        "augmentation.degrees": 10.0,
    }
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    data, run = write_set(tmp_path / "set"), tmp_path / "run"
    assert main(["train", "--data", str(data), "--run", str(run), *options]) == 0
    assert json.loads((run / "best.json").read_text())["epoch"] == 1
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 4
