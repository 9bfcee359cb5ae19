"""What the loop promises besides falling losses: precision, limits, ends, files."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from training.checkpoint import Checkpoint, CheckpointError
from training.config import Config, ConfigError, Loss
from training.data import CocoDataset
from training.distributed import Processes
from training.losses import Criterion
from training.train import NonFiniteLoss, train
from training.train.loop import _criterion, _loader, train_one_epoch
from training.train.record import fingerprint
from training.train.results import append_row, read_rows
from training.train.start import start
from training.train.step import Stepper
from training.train.stop import StopRequest
from training.train.tally import Tally


@pytest.mark.parametrize(
    "changes", [pytest.param({"precision": "fp16"}, marks=pytest.mark.long), {"multi_scale": True}]
)
def test_a_resumed_run_is_the_uninterrupted_one(changes: dict, config: Config, squares: CocoDataset, tmp_path: Path):
    """2 + 2 epochs against 4; the state after two is that of a run stopped there."""
    config = replace(config, epochs=4, checkpoint_every=2, **changes)
    train(config, squares, val_set=squares, folder=tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / "epoch-0002.pt").rename(tmp_path / "parts" / "last.pt")
    train(config, squares, val_set=squares, folder=tmp_path / "parts")
    whole, parts = (Checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert parts.epoch == whole.epoch == 4
    for name, value in whole.state.items():
        assert torch.equal(parts.state[name], value), name
        assert torch.equal(parts.weights[name], whole.weights[name]), name


def test_a_run_that_was_kept_before_an_evaluation_scores_and_goes_on(
    config: Config, squares: CocoDataset, tmp_path: Path
):
    config = replace(config, epochs=1)
    train(config, squares, val_set=squares, folder=tmp_path / "whole")
    torch.manual_seed(config.seed)
    loader = _loader(config, squares, Processes(), pin_memory=False)
    data = fingerprint(squares)
    run = start(config, squares.class_names, tmp_path / "parts", batches=len(loader), data=data)
    train_one_epoch(run, loader, Stepper(run, _criterion(run)), stop=StopRequest(), names=["x.png"] * 8)
    run.keep_position()
    train(config, squares, val_set=squares, folder=tmp_path / "parts")
    (whole,), (parts,) = (read_rows(tmp_path / name / "results.csv") for name in ("whole", "parts"))
    for name in ("epoch", "box", "objectness", "classification", "ap", "gradient_norm", "learning_rate"):
        assert parts[name] == whole[name]


def test_adamw_keeps_its_state(config: Config, squares: CocoDataset, tmp_path: Path):
    config = replace(config, optimizer=replace(config.optimizer, kind="adamw", learning_rate=0.001))
    train(config, squares, val_set=squares, folder=tmp_path / "run")
    optimizer = Checkpoint.load(tmp_path / "run" / "last.pt").optimizer
    assert [group["betas"] for group in optimizer["param_groups"]] == [(0.937, 0.999)] * 3
    assert {int(state["step"]) for state in optimizer["state"].values()} == {4}
    assert all(state["exp_avg_sq"].any() for state in optimizer["state"].values())


def test_gradients_are_limited_and_their_norm_is_in_the_results(config: Config, squares: CocoDataset, tmp_path: Path):
    run = start(replace(config, optimizer=replace(config.optimizer, clip_norm=0.5)), ("a", "b"), tmp_path, batches=2)
    stepper = Stepper(run, torch.nn.Module())
    for parameter in run.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    run.epoch = 3
    rate = run.schedule.at(run.iteration).learning_rates[0]
    norm = stepper.step()
    assert norm == pytest.approx(math.sqrt(sum(value.numel() for value in before.values())), rel=1e-4)
    name = "rows.stem1.bn.weight"  # no decay: the step is the gradient's, at Nesterov's first step times 1.937
    moved = before[name] - run.network.get_parameter(name)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.5 / float(norm) * rate * 1.937), rtol=1e-2, atol=1e-8)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_nothing_after_the_criterion_waits_for_the_device(clip_norm: float, config: Config, tmp_path: Path):
    options = replace(config.optimizer, clip_norm=clip_norm)
    run = start(replace(config, optimizer=options), ("a", "b"), tmp_path, batches=2)
    stepper = Stepper(run, torch.nn.Module())
    outputs = run.network.train()(torch.rand(2, 3, 64, 64))
    with NoWaiting():
        weighted = torch.stack([output.square().mean() for output in outputs])
        stepper.backward(weighted, 2)
        run.tally.add_terms(weighted)
        run.tally.add_norm(stepper.step())
    assert run.tally.means(1, run.processes)["gradient_norm"] > 0


def test_a_tally_leaves_out_steps_that_the_scaler_skips():
    tally = Tally.empty(torch.device("cpu"))
    for norm in (1.0, math.inf, 3.0):
        tally.add_norm(torch.tensor(norm))
    tally.add_terms(torch.tensor([1.0, 2.0, 3.0]))
    assert tally.norms.tolist() == [4.0, 3.0, 2.0]


def test_training_ends_where_patience_does(config: Config, squares: CocoDataset, tmp_path: Path):
    train(replace(config, epochs=9, patience=2), squares, val_set=squares, folder=tmp_path / "run")
    last, best = (Checkpoint.load(tmp_path / "run" / name) for name in ("last.pt", "best.pt"))
    assert last.epoch == best.epoch + 2 < 9


@pytest.mark.parametrize(("epoch", "best", "ends"), [(3, 0, False), (7, 5, False), (10, 5, True), (12, 10, False)])
def test_patience_counts_to_the_last_epoch_that_was_scored(
    epoch: int, best: int, ends: bool, config: Config, tmp_path: Path
):
    run = start(replace(config, epochs=99, patience=2, evaluate_every=5), ("a",), tmp_path, batches=2)
    run.epoch, run.best_epoch = epoch, best
    assert run.finished == ends


def test_periodic_checkpoints_are_pruned(config: Config, squares: CocoDataset, tmp_path: Path):
    config = replace(config, epochs=5, evaluate_every=5, checkpoint_every=1, keep_checkpoints=2)
    train(config, squares, val_set=squares, folder=tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run").glob("epoch-*.pt"))
    assert kept == ["epoch-0004.pt", "epoch-0005.pt"]
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_a_loss_that_is_not_finite_is_reported_with_its_images(config: Config, squares: CocoDataset, tmp_path: Path):
    with pytest.raises(NonFiniteLoss, match=r"epoch 1, batch 0: .*box nan.*nonfinite\.json"):
        train(replace(config, loss=Loss(box=math.nan)), squares, val_set=squares, folder=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert report["terms"]["box"] == "nan"
    assert len(report["images"]) == 4
    assert set(report["images"]) <= {f"{i}.png" for i in range(8)}
    assert report["weights not finite"] == {"count": 0, "first": []}


def test_a_run_of_other_data_is_refused(config: Config, squares: CocoDataset, tmp_path: Path):
    train(replace(config, epochs=1), squares, val_set=squares, folder=tmp_path / "run")
    fewer = replace(squares, images=squares.images[:7])
    with pytest.raises(CheckpointError, match="other data"):
        train(replace(config, epochs=1), fewer, val_set=squares, folder=tmp_path / "run")


def test_an_epoch_is_in_the_results_before_it_is_in_the_last_checkpoint(config: Config, tmp_path: Path):
    run = start(config, ("a", "b"), tmp_path, batches=2)
    (tmp_path / "last.pt").mkdir()  # where no file can be written
    run.close_epoch()
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        run.keep({"box": 0.5}, None)
    assert [row["box"] for row in read_rows(tmp_path / "results.csv")] == ["0.5"]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_run_of_a_gpu_goes_on_without_its_fused_steps(kind: Any, config: Config, tmp_path: Path):
    config = replace(config, optimizer=replace(config.optimizer, kind=kind))
    run = start(config, ("a", "b"), tmp_path, batches=2)
    for group in run.optimizer.param_groups:
        group["fused"] = True
    run.keep_position()
    again = start(config, ("a", "b"), tmp_path, batches=2)
    assert [group["fused"] for group in again.optimizer.param_groups] == [False] * 3


def test_a_run_of_an_older_version_goes_on_and_one_of_a_newer_is_refused(config: Config, tmp_path: Path):
    run = start(config, ("a", "b"), tmp_path, batches=2)
    run.close_epoch()
    run.keep({}, None)
    saved = Checkpoint.load(tmp_path / "last.pt")
    lacking = {key: value for key, value in saved.config.items() if key not in ("patience", "multi_scale", "anchors")}
    lacking["optimizer"] = {
        key: value for key, value in lacking["optimizer"].items() if key not in ("kind", "clip_norm")
    }
    extra = {"ema_updates": 7, "best": 0.5, "gradients": {}}
    replace(saved, config=lacking, extra=extra, iteration=0).save(tmp_path / "last.pt")
    again = start(config, ("a", "b"), tmp_path, batches=2, data="a hash that it did not know")
    assert (again.epoch, again.step, again.best, again.best_epoch, again.ema.updates) == (1, 0, 0.5, 1, 7)
    replace(saved, config=saved.config | {"mood": 1}).save(tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=r"another version \(unknown key 'mood'"):
        start(config, ("a", "b"), tmp_path, batches=2)


def test_a_batch_that_processes_cannot_share_is_refused(config: Config, squares: CocoDataset):
    with pytest.raises(ConfigError, match="batch_size 1 cannot be shared by 2 processes"):
        _loader(replace(config, batch_size=1), squares, Processes(0, 0, 2), pin_memory=False)


def test_every_start_is_on_record(config: Config, squares: CocoDataset, tmp_path: Path):
    for _ in range(2):
        train(replace(config, epochs=1), squares, val_set=squares, folder=tmp_path / "run")
    first, second = json.loads((tmp_path / "run" / "run.json").read_text())["starts"]
    assert (first["iteration"], second["iteration"]) == (0, 2)
    assert first["data"] == second["data"]
    assert first["versions"]["torch"] == torch.__version__
    assert {"command", "code", "seeds", "machine", "processes"} <= set(first)


def test_what_a_killed_process_left_half_written_is_removed(config: Config, tmp_path: Path):
    run = start(config, ("a", "b"), tmp_path, batches=2)
    run.keep_position()
    (tmp_path / ".last.pt.x1y2.tmp").write_bytes(b"half")
    start(config, ("a", "b"), tmp_path, batches=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "last.pt"]


def test_results_of_an_older_version_get_the_new_columns(tmp_path: Path):
    (tmp_path / "results.csv").write_text("epoch,seconds,box\n1,9,0.5\n2,9,0.4\n")
    append_row(tmp_path / "results.csv", {"epoch": "2", "box": "0.3", "ap": "0.1"})
    rows = read_rows(tmp_path / "results.csv")
    assert [(row["epoch"], row["box"], row["ap"]) for row in rows] == [("1", "0.5", ""), ("2", "0.3", "0.1")]


def test_a_recipe_may_bring_its_own_anchors(config: Config, tmp_path: Path):
    anchors = tuple(tuple(float(6 * level + side) for side in range(1, 7)) for level in range(3))
    run = start(replace(config, anchors=anchors), ("a",), tmp_path, batches=2)
    assert run.network.anchors.flatten().tolist() == [float(side) for side in range(1, 19)]
    assert torch.equal(run.network.head.anchors.cells[2] * 32, run.network.anchors[2])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of its own parts
def test_a_compiled_step_is_the_plain_one(config: Config, squares: CocoDataset, tmp_path: Path):
    results = {}
    for compiled in (False, True):
        torch.manual_seed(0)
        run = start(replace(config, compile=compiled), ("a", "b"), tmp_path / str(compiled), batches=2)
        criterion = Criterion(config.loss, num_classes=2, strides=run.network.strides, anchors_px=run.network.anchors)
        # In training mode a batch of one cell has next to no variance, and rounding is all that is left of it.
        run.network.eval()
        results[compiled] = Stepper(run, criterion).model(torch.linspace(0, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64))
    for plain, fast in zip(results[False], results[True], strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-4)
