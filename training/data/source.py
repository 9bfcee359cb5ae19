"""Source images: decoded, scaled to the training size, and kept in memory as far as a budget goes.

The cache is filled when it is built and never changes afterwards: worker processes forked later share its pages with
the parent instead of filling one cache each. What the budget cannot hold decoded is held encoded, and what it cannot
hold at all is read from its file each time. With a disk cache, images that memory does not hold decoded lie decoded on
disk as far as its budget goes, written by whoever needs them first.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.vision.image import ImageError, decode
from training.data.coco import CocoDataset, DatasetError, DatasetImage
from training.data.disk import DiskCache
from training.data.geometry import fit_long_side, fitted_hw
from training.data.sample import Labels, Sample

logger = logging.getLogger(__name__)

_NPY_HEADER = 128
MAX_PIXELS = 200_000_000  # the user's own files may be larger than what serving takes from strangers


class SourceImages:
    """The images of a dataset with the objects trained on (no crowds), the longer side scaled to ``image_size``.

    Raises DatasetError, at once for what is cached and otherwise in ``load``, when an image cannot be read or decoded,
    or has another size than the annotations say.
    """

    def __init__(
        self, dataset: CocoDataset, image_size: int, *, cache_bytes: int, disk: DiskCache | None = None
    ) -> None:
        self._images = dataset.images
        self._size = image_size
        self._labels = [_trained_on(image) for image in dataset.images]
        self.outlined = any(outline is not None for labels in self._labels for outline in labels.outlines)
        self._disk = disk
        bytes_decoded = [_decoded_bytes(image, image_size) for image in dataset.images]
        if disk is None:
            encoded = [image.path.stat().st_size for image in dataset.images]
            decoded, held = plan_cache(bytes_decoded, encoded, cache_bytes)
        else:
            decoded = held = sum(total <= cache_bytes for total in accumulate(bytes_decoded))
        self._places = [] if disk is None else self._places_on(disk, bytes_decoded, decoded)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            self._encoded = list(threads.map(_read, dataset.images[decoded:held]))
            self._decoded = list(threads.map(self._read_and_fit, dataset.images[:decoded]))
        on_disk = len(self._places)
        counts = decoded, held - decoded, on_disk, len(self) - held - on_disk
        logger.info(
            "images: %d in memory decoded, %d encoded, %d on disk decoded, %d read from disk each time", *counts
        )

    def __len__(self) -> int:
        return len(self._images)

    def load(self, index: int, stretch: float = 1.0) -> Sample:
        """Return an image and its objects, the width multiplied by ``stretch`` before the longer side is scaled."""
        entry = self._images[index]
        image = fit_long_side(self._pixels(index), self._size, stretch)
        labels = self._labels[index].scaled(image.shape[1] / entry.width, image.shape[0] / entry.height)
        return Sample(image, labels)

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if index < len(self._decoded):
            return self._decoded[index]
        if (place := index - len(self._decoded)) < len(self._encoded):
            return fit_long_side(_decoded(self._images[index], self._encoded[place]), self._size)
        if self._disk is not None and place < len(self._places):
            return self._disk.load(self._places[place], lambda: self._read_and_fit(self._images[index]))
        return self._read_and_fit(self._images[index])

    def _places_on(self, disk: DiskCache, sizes: Sequence[int], first: int) -> list[Path]:
        """Return where the images from ``first`` on lie on disk, as many as the budget holds; make room for them."""
        totals = [total for total in accumulate(size + _NPY_HEADER for size in sizes[first:]) if total <= disk.budget]
        images = self._images[first : first + len(totals)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            places = list(threads.map(lambda image: disk.place(image.path, self._size), images))
        disk.make_room(frozenset(places), totals[-1] if totals else 0)
        return places

    def _read_and_fit(self, image: DatasetImage) -> NDArray[np.uint8]:
        return fit_long_side(read_pixels(image), self._size)


def read_pixels(image: DatasetImage) -> NDArray[np.uint8]:
    """Return an image as serving would see it, (height, width, 3) RGB upright.

    Raises DatasetError where it cannot be read or decoded, or has another size than the annotations say.
    """
    return _decoded(image, _read(image))


def _decoded(image: DatasetImage, data: bytes) -> NDArray[np.uint8]:
    try:
        pixels = decode(data, max_pixels=MAX_PIXELS)
    except ImageError as exc:
        raise DatasetError(f"{image.path}: {exc}") from exc
    height, width = pixels.shape[:2]
    if (height, width) != (image.height, image.width):
        expected = f"{image.width}x{image.height}"
        raise DatasetError(f"{image.path} is {width}x{height} pixels upright, its annotations say {expected}")
    return pixels


def plan_cache(decoded: Sequence[int], encoded: Sequence[int], budget: int) -> tuple[int, int]:
    """Given each image's bytes in both forms, return how many to hold decoded, and how many in either form.

    The first are held decoded, those after them encoded, the rest not at all. All are held encoded before any is held
    decoded, because reading from disk costs more than decoding.
    """
    held = sum(total <= budget for total in accumulate(encoded))
    if held < len(encoded):
        return 0, held
    exchanged = accumulate((d - e for d, e in zip(decoded, encoded, strict=True)), initial=sum(encoded))
    return max(count for count, total in enumerate(exchanged) if total <= budget), held


def _trained_on(image: DatasetImage) -> Labels:
    outlines = tuple(outline for outline, crowd in zip(image.outlines, image.crowd, strict=False) if not crowd)
    return Labels(image.boxes_xyxy[~image.crowd], image.classes[~image.crowd], outlines)


def _read(image: DatasetImage) -> bytes:
    try:
        return image.path.read_bytes()
    except OSError as exc:
        raise DatasetError(f"cannot read {image.path}: {exc.strerror}") from exc


def _decoded_bytes(image: DatasetImage, size: int) -> int:
    height, width = fitted_hw(image.height, image.width, size)
    return height * width * 3
