"""A training run: the loop, its folder and its curve."""

from training.train.finite import NonFiniteLoss
from training.train.loop import train
from training.train.stop import Stopped

__all__ = ["NonFiniteLoss", "Stopped", "train"]
