"""Short real runs: loss falls, a stopped run goes on exactly, a run of another recipe is refused."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from training.checkpoint import Checkpoint, CheckpointError
from training.config import Config, ConfigError, Loss, Optimizer
from training.data import CocoDataset, DatasetError
from training.nets import VARIANTS, build_network
from training.train import NonFiniteLoss, train
from training.train.results import read_rows
from training.train.start import start

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


def test_gradients_that_wait_for_a_step_outlive_a_stop(squares: CocoDataset, tmp_path: Path):
    """A step takes three batches, an epoch has two."""
    config = replace(CONFIG, optimizer=replace(OPTIMIZER, nominal_batch=12))
    train(config, squares, val_set=squares, folder=tmp_path / "whole")
    with interrupt_at_first_log_line(), pytest.raises(KeyboardInterrupt):
        train(config, squares, val_set=squares, folder=tmp_path / "parts")
    train(config, squares, val_set=squares, folder=tmp_path / "parts")
    first, again = (Checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    for name, value in first.state.items():
        assert torch.equal(value, again.state[name]), name


def test_epochs_without_evaluation_leave_their_figures_empty(squares: CocoDataset, tmp_path: Path):
    train(replace(CONFIG, evaluate_every=2), squares, val_set=squares, folder=tmp_path / "run")
    first, second = read_rows(tmp_path / "run" / "results.csv")
    assert not first["ap"]
    assert second["ap"]


def test_the_run_folder_says_how_it_went(squares: CocoDataset, tmp_path: Path):
    folder = tmp_path / "run"
    train(CONFIG, squares, val_set=squares, folder=folder)
    lines = (folder / "results.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,seconds,box,objectness,classification,ap")
    assert len(lines) == 3
    assert cv2.imread(str(folder / "curve.png")) is not None
    assert "Training loss" in (folder / "report.html").read_text()
    assert json.loads((folder / "config.json").read_text())["image_size"] == 64


def test_a_folder_of_another_recipe_is_refused(squares: CocoDataset, tmp_path: Path):
    train(replace(CONFIG, epochs=1), squares, val_set=squares, folder=tmp_path / "run")
    with pytest.raises(CheckpointError, match="another recipe"):
        train(replace(CONFIG, epochs=1, seed=9), squares, val_set=squares, folder=tmp_path / "run")


def test_a_run_may_go_on_elsewhere(squares: CocoDataset, tmp_path: Path):
    train(replace(CONFIG, epochs=1), squares, val_set=squares, folder=tmp_path / "run")
    elsewhere = replace(CONFIG, epochs=1, cache_gib=0.5, workers=1, device="auto")
    train(elsewhere, squares, val_set=squares, folder=tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "v8"}, "unknown variant 'v8'; known: tiny"),
        ({"variant": "w6", "image_size": 96}, "multiple of 64 for w6, not 96"),
    ],
)
def test_a_recipe_that_no_network_can_run_is_refused(
    changes: dict[str, Any], message: str, squares: CocoDataset, tmp_path: Path
):
    with pytest.raises(ConfigError, match=message):
        train(replace(CONFIG, **changes), squares, val_set=squares, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(squares: CocoDataset, tmp_path: Path):
    with pytest.raises(ConfigError, match="no CUDA GPU"):
        train(replace(CONFIG, device="cuda"), squares, val_set=squares, folder=tmp_path / "run")


def test_sets_that_do_not_fit_together_are_refused(squares: CocoDataset, tmp_path: Path):
    renamed = replace(squares, class_names=("circle",))
    with pytest.raises(DatasetError, match="differ in their classes: square and circle"):
        train(CONFIG, squares, val_set=renamed, folder=tmp_path / "run")
    bare = replace(squares, images=tuple(replace(i, crowd=np.ones_like(i.crowd)) for i in squares.images))
    with pytest.raises(DatasetError, match="validation set has no objects"):
        train(CONFIG, squares, val_set=bare, folder=tmp_path / "run")


def test_a_batch_may_be_larger_than_the_set(squares: CocoDataset, tmp_path: Path):
    train(replace(CONFIG, epochs=1, batch_size=32), squares, val_set=squares, folder=tmp_path / "run")
    assert Checkpoint.load(tmp_path / "run" / "last.pt").epoch == 1


def test_weights_bring_no_anchors_along(squares: CocoDataset, tmp_path: Path):
    network = build_network(VARIANTS["tiny"], num_classes=1)
    network.head.anchors.pixels += 1
    Checkpoint("tiny", "training", squares.class_names, state=network.state_dict()).save(tmp_path / "other.pt")
    run = start(CONFIG, squares.class_names, tmp_path / "run", batches=2, weights=tmp_path / "other.pt")
    assert torch.equal(run.network.anchors, network.anchors - 1)
    assert torch.equal(run.network.head.lead[0].conv.bias, network.head.lead[0].conv.bias)


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
