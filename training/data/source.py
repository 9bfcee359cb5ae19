"""Source images: decoded, scaled to the training size, and kept in memory as far as a budget goes.

The cache is filled when it is built, by threads, and never changes afterwards: worker processes forked later share its pages with the parent instead of
filling one cache each. What the budget cannot hold decoded is held encoded, and what it cannot hold at all is read from its file each time.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.coco import CocoDataset, DatasetError, DatasetImage
from training.data.geometry import fit_long_side
from training.data.sample import Labels, Sample

logger = logging.getLogger(__name__)


class SourceImages:
    """The images of a dataset with their trained-on objects (no crowds), longer side scaled to ``image_size``.

    Raises DatasetError, here for what is cached and otherwise in ``load``, when an image cannot be decoded or has another size than the annotations say.
    """

    def __init__(self, dataset: CocoDataset, image_size: int, *, cache_bytes: int) -> None:
        self._images = dataset.images
        self._size = image_size
        decoded, held = plan_cache(
            [_decoded_bytes(image, image_size) for image in dataset.images],
            [image.path.stat().st_size for image in dataset.images],
            cache_bytes,
        )
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            self._decoded = list(threads.map(self._decode, range(decoded)))
            self._encoded = list(threads.map(lambda image: image.path.read_bytes(), dataset.images[decoded:held]))
        logger.info(
            "%d images: %d in memory decoded, %d encoded, %d read from disk each time",
            len(self),
            decoded,
            held - decoded,
            len(self) - held,
        )

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int, stretch: float = 1.0) -> Sample:
        """Return image ``index`` with its objects, its width multiplied by ``stretch`` before the longer side becomes ``image_size``."""
        entry = self._images[index]
        image = self._decoded[index] if index < len(self._decoded) else self._decode(index)
        image = fit_long_side(image, self._size, stretch)
        trained = ~entry.crowd
        labels = Labels(entry.boxes_xyxy[trained], entry.classes[trained])
        return Sample(image, labels.scaled(image.shape[1] / entry.width, image.shape[0] / entry.height))

    def _decode(self, index: int) -> NDArray[np.uint8]:
        entry = self._images[index]
        first = len(self._decoded) if hasattr(self, "_decoded") else len(self._images)
        data = self._encoded[index - first] if first <= index < first + len(self._encoded) else entry.path.read_bytes()
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise DatasetError(f"{entry.path} cannot be decoded")
        if pixels.shape[:2] != (entry.height, entry.width):
            raise DatasetError(
                f"{entry.path} is {pixels.shape[1]}×{pixels.shape[0]}, the annotations say {entry.width}×{entry.height}"
            )
        return fit_long_side(np.asarray(pixels, np.uint8), self._size)


def plan_cache(decoded: Sequence[int], encoded: Sequence[int], budget: int) -> tuple[int, int]:
    """Given each image's bytes in both forms, return how many of the first to hold decoded, and how many to hold in either form.

    Encoded images go first, because reading from disk costs more than decoding; then as many as fit are exchanged for decoded ones.
    """
    held = sum(total <= budget for total in accumulate(encoded))
    spent = sum(encoded[:held])
    if held < len(encoded):
        return 0, held
    exchanged = accumulate((d - e for d, e in zip(decoded, encoded, strict=True)), initial=spent)
    return max(count for count, total in enumerate(exchanged) if total <= budget), held


def _decoded_bytes(image: DatasetImage, size: int) -> int:
    ratio = size / max(image.width, image.height)
    return int(image.width * ratio) * int(image.height * ratio) * 3
