"""Members of the family through the whole loop, auxiliary heads among them. All eight: ``bench/all_variants.py``."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.checkpoint import Checkpoint
from training.config import Config
from training.data import CocoDataset
from training.train import train
from training.train.results import read_rows


@pytest.mark.long
@pytest.mark.parametrize(("name", "heads"), [("tiny-silu", 3), ("v7", 3), ("w6", 8), ("e6e", 8)])
def test_every_head_of_a_variant_learns(name: str, heads: int, config: Config, squares: CocoDataset, tmp_path: Path):
    train(replace(config, variant=name), squares, val_set=squares, folder=tmp_path)
    for row in read_rows(tmp_path / "results.csv"):
        assert all(math.isfinite(float(row[term])) for term in ("box", "objectness", "classification"))
    saved = Checkpoint.load(tmp_path / "last.pt")
    assert saved.ema is not None
    kernels = [key for key in saved.state if key.startswith("head.") and key.endswith("weight")]
    assert len(kernels) == heads
    # The average lags behind whatever moves.
    assert not any(torch.equal(saved.ema[key], saved.state[key]) for key in kernels)
