"""Training data: COCO and YOLO sets read, images augmented by the recipe, batches that only seed and epoch decide."""

from training.data.coco import CocoDataset, DatasetError, DatasetImage
from training.data.loader import Batch, Shard, TrainDataset, train_loader
from training.data.parts import open_part, read_parts
from training.data.source import read_pixels

__all__ = [
    "Batch",
    "CocoDataset",
    "DatasetError",
    "DatasetImage",
    "Shard",
    "TrainDataset",
    "open_part",
    "read_parts",
    "read_pixels",
    "train_loader",
]
