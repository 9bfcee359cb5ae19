"""Training data: COCO files read, images augmented by the paper's recipe, batches that depend on nothing but seed and epoch."""

from training.data.coco import CocoDataset, DatasetError, DatasetImage
from training.data.loader import Batch, TrainDataset, train_loader

__all__ = ["Batch", "CocoDataset", "DatasetError", "DatasetImage", "TrainDataset", "train_loader"]
