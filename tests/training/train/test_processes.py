"""Real processes: two that train together, and one that is told to stop."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from training.checkpoint import Checkpoint
from training.config import Config
from training.data import open_part
from training.nets import VARIANTS, build_network
from training.train import train
from training.train.results import read_rows

TORCHRUN = ("torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "training")


def arguments(config: Config, data: Path, folder: Path, *more: str) -> list[str]:
    """The command line of a recipe."""
    recipe = folder.with_suffix(".toml")
    tables = {key: value for key, value in asdict(config).items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in asdict(config).items() if key not in tables]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    recipe.write_text("\n".join(lines))
    return ["train", "--config", str(recipe), "--data", str(data), "--folder", str(folder), *more]


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def lively(tmp_path: Path) -> Path:
    """Weights whose signal reaches the head although no batch normalisation normalises."""
    torch.manual_seed(0)
    network = build_network(VARIANTS["tiny"], num_classes=2)
    for name, parameter in network.named_parameters():
        if name.startswith("rows") and parameter.dim() == 4:
            parameter.data *= 2.6
    Checkpoint("tiny", "training", ("square", "other"), state=network.state_dict()).save(tmp_path / "lively.pt")
    return tmp_path / "lively.pt"


def test_two_processes_equal_one(config: Config, data: Path, lively: Path, tmp_path: Path):
    """Batch normalisations rest, because only GPUs have one that sees the whole batch."""
    config = replace(config, freeze_names=("*.bn.*",))
    dataset = open_part(data, "train")
    train(config, dataset, val_set=dataset, folder=tmp_path / "one", weights=lively)
    run(*TORCHRUN, *arguments(config, data, tmp_path / "two", "--weights", str(lively)))
    one, two = (Checkpoint.load(tmp_path / name / "last.pt") for name in ("one", "two"))
    start = Checkpoint.load(lively)
    moved = max((one.state[name] - start.state[name]).abs().max() for name in start.state)
    assert moved > 1e-2
    for name, value in one.state.items():
        torch.testing.assert_close(two.state[name], value, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(two.weights[name], one.weights[name], rtol=1e-5, atol=1e-5)
    assert two.metrics == pytest.approx(one.metrics)


@pytest.mark.long
def test_two_processes_equal_one_with_auxiliary_heads(config: Config, data: Path, tmp_path: Path):
    config = replace(config, variant="w6", epochs=1, freeze_names=("*.bn.*",))
    dataset = open_part(data, "train")
    train(config, dataset, val_set=dataset, folder=tmp_path / "one")
    run(*TORCHRUN, *arguments(config, data, tmp_path / "two"))
    (one,), (two,) = (read_rows(tmp_path / name / "results.csv") for name in ("one", "two"))
    for term in ("box", "objectness", "classification", "gradient_norm"):
        assert float(two[term]) == pytest.approx(float(one[term]), rel=1e-3), term
    one_state, two_state = (Checkpoint.load(tmp_path / name / "last.pt").state for name in ("one", "two"))
    for name, value in one_state.items():
        torch.testing.assert_close(two_state[name], value, rtol=1e-5, atol=1e-5)


def test_sigterm_keeps_the_position_and_the_run_goes_on_exactly(config: Config, data: Path, tmp_path: Path):
    """The signal reaches the worker that makes batches too, as it does under torchrun."""
    config = replace(config, batch_size=1, epochs=4)
    recipe = replace(config, workers=1)
    command = [sys.executable, "-m", "training", *arguments(recipe, data, tmp_path / "parts")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1  " in line:
                os.killpg(process.pid, signal.SIGTERM)
                break
        rest = process.stderr.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(r"stopped by SIGTERM in epoch \d after \d of 8 batches; the same command goes on there", rest)
    dataset = open_part(data, "train")
    for name in ("parts", "whole"):
        train(config, dataset, val_set=dataset, folder=tmp_path / name)
    parts, whole = (Checkpoint.load(tmp_path / name / "last.pt") for name in ("parts", "whole"))
    for name, value in whole.state.items():
        assert torch.equal(parts.state[name], value), name
        assert torch.equal(parts.weights[name], whole.weights[name]), name
