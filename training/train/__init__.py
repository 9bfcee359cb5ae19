"""A training run: the loop, its folder and its curve."""

from training.train.loop import NonFiniteLoss, train

__all__ = ["NonFiniteLoss", "train"]
