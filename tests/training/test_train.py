"""Short real runs: loss falls, a stopped run goes on exactly, a run of another recipe is refused."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training.checkpoint import Checkpoint, CheckpointError
from training.config import Config, Loss, Optimizer
from training.data import CocoDataset
from training.train import NonFiniteLoss, train

OPTIMIZER = Optimizer(nominal_batch=4, warmup_epochs=1.0, warmup_min_iterations=0, ema_tau=5.0)
CONFIG = Config(
    variant="tiny",
    image_size=64,
    epochs=2,
    batch_size=4,
    workers=0,
    precision="fp32",
    device="cpu",
    optimizer=OPTIMIZER,
)


@pytest.fixture
def squares(tmp_path: Path) -> CocoDataset:
    """Eight noise images with one bright square each."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    annotations = []
    for i in range(8):
        image = rng.integers(0, 90, (64, 64, 3), np.uint8)
        x, y, side = (int(v) for v in rng.integers(8, 30, 3))
        image[y : y + side, x : x + side] = 230
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), image)
        annotations.append({"id": i + 1, "image_id": i, "category_id": 1, "bbox": [x, y, side, side]})
        annotations[-1] |= {"area": side * side, "iscrowd": 0}
    images = [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in range(8)]
    table = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "square"}]}
    (tmp_path / "train.json").write_text(json.dumps(table))
    return CocoDataset.open(tmp_path / "train.json")


@contextlib.contextmanager
def interrupt_at_first_log_line() -> Iterator[None]:
    """Ctrl-C just as the first epoch's results are logged."""

    class Interrupt(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyboardInterrupt

    logger, handler = logging.getLogger("training.train.run"), Interrupt()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(squares: CocoDataset, tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(CONFIG, squares, val_set=squares, folder=whole)
    first = Checkpoint.load(whole / "last.pt")
    with interrupt_at_first_log_line(), pytest.raises(KeyboardInterrupt):
        train(CONFIG, squares, val_set=squares, folder=parts)
    assert Checkpoint.load(parts / "last.pt").epoch == 1
    train(CONFIG, squares, val_set=squares, folder=parts)
    again = Checkpoint.load(parts / "last.pt")
    assert again.epoch == first.epoch == 2
    for name, value in first.weights.items():
        assert torch.equal(value, again.weights[name]), name


def test_the_run_folder_says_how_it_went(squares: CocoDataset, tmp_path: Path):
    folder = tmp_path / "run"
    train(CONFIG, squares, val_set=squares, folder=folder)
    lines = (folder / "results.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,seconds,box,objectness,classification,ap")
    assert len(lines) == 3
    assert cv2.imread(str(folder / "curve.png")) is not None
    assert json.loads((folder / "config.json").read_text())["image_size"] == 64


def test_a_folder_of_another_recipe_is_refused(squares: CocoDataset, tmp_path: Path):
    train(replace(CONFIG, epochs=1), squares, val_set=squares, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match="another recipe"):
        train(replace(CONFIG, epochs=1, seed=9), squares, val_set=squares, folder=tmp_path / "run")


def test_weights_of_another_class_count_are_taken_up_to_the_head(squares: CocoDataset, tmp_path: Path):
    train(replace(CONFIG, epochs=1), squares, val_set=squares, folder=tmp_path / "one")
    categories = [{"id": 1, "name": "square"}, {"id": 2, "name": "round"}]
    truth = squares.ground_truth | {"categories": categories}
    given = replace(squares, class_names=("square", "round"), category_ids=(1, 2), ground_truth=truth)
    weights = tmp_path / "one" / "last.pt"
    train(replace(CONFIG, epochs=1), given, val_set=given, folder=tmp_path / "two", weights=weights)
    assert Checkpoint.load(tmp_path / "two" / "last.pt").class_names == ("square", "round")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_terms(squares: CocoDataset, tmp_path: Path):
    broken = replace(CONFIG, loss=Loss(box=float("nan")))
    with pytest.raises(NonFiniteLoss, match="box nan"):
        train(broken, squares, val_set=squares, folder=tmp_path / "run")


@pytest.mark.long
def test_bright_squares_are_learnt(squares: CocoDataset, tmp_path: Path):
    config = replace(CONFIG, epochs=60, evaluate_every=60)
    assert train(config, squares, val_set=squares, folder=tmp_path / "run").ap50 > 0.5
