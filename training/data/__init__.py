"""Training data: COCO files read, images augmented by the recipe, batches that only seed and epoch decide."""

from training.data.coco import CocoDataset, DatasetError, DatasetImage
from training.data.loader import Batch, Shard, TrainDataset, train_loader
from training.data.source import read_pixels

__all__ = [
    "Batch",
    "CocoDataset",
    "DatasetError",
    "DatasetImage",
    "Shard",
    "TrainDataset",
    "read_pixels",
    "train_loader",
]
