"""Training data: COCO files read, images augmented by the recipe, batches that only seed and epoch decide."""

from training.data.coco import CocoDataset, DatasetError, DatasetImage
from training.data.loader import Batch, Shard, TrainDataset, train_loader

__all__ = ["Batch", "CocoDataset", "DatasetError", "DatasetImage", "Shard", "TrainDataset", "train_loader"]
