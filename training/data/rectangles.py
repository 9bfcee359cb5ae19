"""Validation in rectangles: images of like shape together, each batch only as large as its images need.

The reference implementation validates so. Our AP is measured in the shapes that serve (``training.evaluate``); this is
for the validation loss, and for figures that are to be compared with published ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from service.vision.letterbox import Letterbox
from training.data.coco import CocoDataset, DatasetImage
from training.data.geometry import fitted_hw
from training.data.loader import Batch, Shard, collate, start_worker, targets
from training.data.sample import Labels
from training.data.source import read_pixels


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A batch: which images, and the shape that they are letterboxed to."""

    indices: tuple[int, ...]
    shape_hw: tuple[int, int]


def rectangles(
    sizes_wh: Sequence[tuple[int, int]], batch_size: int, *, image_size: int, stride: int, pad: float = 0.5
) -> list[Rectangle]:
    """Plan the batches: images sorted by height / width, each batch as long as ``image_size`` and as wide as needed.

    pad: in strides, added to both sides before rounding up, so that no image ends at the very edge.
    """
    ratios = np.array([height / width for width, height in sizes_wh], np.float64)
    order = np.argsort(ratios, kind="stable")
    batches = []
    for begin in range(0, len(order), batch_size):
        indices = order[begin : begin + batch_size]
        low, high = ratios[indices].min(), ratios[indices].max()
        # All lying, all standing, or both.
        sides = (high, 1.0) if high < 1 else (1.0, 1 / low) if low > 1 else (1.0, 1.0)
        height, width = (int(np.ceil(side * image_size / stride + pad)) * stride for side in sides)
        batches.append(Rectangle(tuple(indices.tolist()), (height, width)))
    return batches


class RectangleDataset(Dataset[Batch]):
    """The batches of a plan: an item is a whole ``Batch``, not augmented, its boxes as fractions of its own shape."""

    def __init__(self, dataset: CocoDataset, plan: Sequence[Rectangle], *, image_size: int) -> None:
        self._images = dataset.images
        self._plan = plan
        self._size = image_size

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Batch:
        rectangle = self._plan[index]
        items = []
        for place in rectangle.indices:
            image = self._images[place]
            pixels = self._fitted(read_pixels(image))
            letterbox = Letterbox.fit((pixels.shape[0], pixels.shape[1]), rectangle.shape_hw, scale_up=False)
            rows = targets(_labels(image, pixels, letterbox), rectangle.shape_hw)
            items.append((torch.from_numpy(letterbox.apply(pixels)).permute(2, 0, 1), torch.from_numpy(rows)))
        return collate(items)

    def _fitted(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Scale the longer side to the training size, over areas where that is smaller."""
        height, width = fitted_hw(pixels.shape[0], pixels.shape[1], self._size)
        way = cv2.INTER_AREA if self._size < max(pixels.shape[:2]) else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.uint8)


def rectangle_loader(dataset: RectangleDataset, *, workers: int = 0, shard: Shard | None = None) -> DataLoader[Batch]:
    """Iterate over the batches in order; of n processes each takes every n-th."""
    shard = shard or Shard()
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=range(shard.rank, len(dataset), shard.world_size),
        num_workers=workers,
        worker_init_fn=start_worker,
        generator=torch.Generator(),  # the global generator is left alone
    )


def _labels(image: DatasetImage, pixels: NDArray[np.uint8], letterbox: Letterbox) -> Labels:
    kept = Labels(image.boxes_xyxy[~image.crowd], image.classes[~image.crowd])
    fitted = kept.scaled(pixels.shape[1] / image.width, pixels.shape[0] / image.height)
    return Labels(letterbox.to_network(fitted.boxes), fitted.classes)
