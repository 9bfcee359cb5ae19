"""Checkpoints: the project's own format, and official files read without executing anything in them."""

from training.checkpoint.format import Checkpoint, CheckpointError, load_network
from training.checkpoint.official import ImportReport, import_official

__all__ = ["Checkpoint", "CheckpointError", "ImportReport", "import_official", "load_network"]
