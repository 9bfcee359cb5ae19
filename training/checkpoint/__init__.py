"""Checkpoints: the project's own format, and official files read without executing anything in them."""

from training.checkpoint.format import Checkpoint, CheckpointError

__all__ = ["Checkpoint", "CheckpointError"]
