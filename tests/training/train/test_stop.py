"""Signals: requests, a second Ctrl-C an end, outside of training what they were; and who obeys when."""

import math
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.config import Config
from training.data import CocoDataset
from training.distributed import Processes
from training.train import NonFiniteLoss
from training.train.finite import FiniteCheck
from training.train.guard import Guard, Interrupted
from training.train.start import start
from training.train.stop import Stopped, StopRequest
from training.train.validation import evaluate_ema


@dataclass(frozen=True)
class OneOfTwo(Processes):
    """A process whose partner adds ``flags`` to whatever is added up."""

    world_size: int = 2
    flags: tuple[float, float] = (0.0, 0.0)

    def sum(self, value: Tensor) -> Tensor:
        return value + torch.tensor(self.flags)


def guard(config: Config, folder: Path, processes: Processes | None = None) -> Guard:
    """Of a run on a GPU, where losses are looked at now and then, before its second batch."""
    run = start(config, ("a", "b"), folder, batches=4)
    run.processes, run.step = processes or Processes(), 1
    found = Guard(run, StopRequest(), ["a.jpg"] * 16, per_batch=4)
    found.check = FiniteCheck(torch.device("cuda"))
    return found


def test_a_signal_is_a_request_only():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.number == 0
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_ends_at_once():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_status_is_what_a_shell_reports():
    assert [Stopped("", number).status for number in (signal.SIGTERM, signal.SIGINT)] == [143, 130]


def test_a_signal_keeps_no_weights_that_a_batch_has_spoilt(config: Config, tmp_path: Path):
    watch = guard(config, tmp_path)
    watch.stop.number = signal.SIGTERM
    watch.check.add(0, torch.tensor([0.1, math.nan, 0.1]))
    with pytest.raises(NonFiniteLoss, match=r"batch 0: .*objectness nan"):
        watch.before()


def test_a_signal_is_obeyed_at_once_by_one_process(config: Config, tmp_path: Path):
    watch = guard(config, tmp_path)
    watch.before()
    watch.stop.number = signal.SIGTERM
    with pytest.raises(Interrupted):
        watch.before()


@pytest.mark.parametrize(("flags", "error"), [((1.0, 0.0), NonFiniteLoss), ((0.0, 1.0), Interrupted)])
def test_what_another_process_met_ends_this_one_too(flags, error: type[Exception], config: Config, tmp_path: Path):
    watch = guard(config, tmp_path, OneOfTwo(flags=flags))
    watch.before()  # not yet: the others are not asked before every batch
    watch.run.step = 20
    with pytest.raises(error):
        watch.before()


def test_a_signal_ends_an_evaluation(config: Config, squares: CocoDataset, tmp_path: Path):
    run = start(replace(config, epochs=1), squares.class_names, tmp_path, batches=2)
    stop = StopRequest()
    assert evaluate_ema(run, squares, stop).ap >= 0
    stop.number = signal.SIGINT
    with pytest.raises(Interrupted):
        evaluate_ema(run, squares, stop)
