"""The images from which the ranges of activations are learnt: those of training, letterboxed as the service does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.vision.letterbox import Letterbox, choose_shape
from training.data import CocoDataset, DatasetError, DatasetImage, read_pixels


@dataclass(frozen=True, slots=True)
class Calibration:
    """Chosen images of a set, and the input shapes (H, W) that they are laid into; read anew for each pass."""

    images: tuple[DatasetImage, ...]
    shapes_hw: tuple[tuple[int, int], ...]

    @classmethod
    def choose(cls, dataset: CocoDataset, shapes_hw: Sequence[tuple[int, int]], *, count: int, seed: int = 0) -> Self:
        """Take ``count`` images, or all where there are fewer, in the set's order. Raises DatasetError for none."""
        if not dataset.images:
            raise DatasetError("there is no image to learn ranges from")
        chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
        return cls(tuple(dataset.images[index] for index in sorted(chosen.tolist())), tuple(shapes_hw))

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 (1, H, W, 3), RGB, each in the shape that fits it best. Raises DatasetError."""
        for image in self.images:
            pixels = read_pixels(image)
            image_hw = pixels.shape[0], pixels.shape[1]
            yield Letterbox.fit(image_hw, choose_shape(image_hw, self.shapes_hw)).apply(pixels)[None]
