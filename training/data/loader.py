"""Training batches: which images, augmented how, in what order, as tensors.

Everything random comes from ``default_rng((seed, epoch, index))`` for an image and a generator of its own for the order, so that (seed, epoch) fixes
every batch, whatever the number of workers or what ran before. This module knows nothing of the network or the loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from training.config import Augmentation
from training.data.coco import CocoDataset
from training.data.geometry import AffineDraw, affine, flip_horizontal, flip_vertical
from training.data.mosaic import centred, mixup, mosaic4, mosaic9
from training.data.photometric import ColourDraw, recolour
from training.data.sample import Labels, Sample
from training.data.source import SourceImages

MIXUP_CONCENTRATION = 8.0  # both parameters of the Beta distribution that the blend is drawn from


@dataclass(frozen=True, slots=True)
class Batch:
    """images: (B, 3, S, S) uint8 RGB. targets: (M, 6) float32 rows image index, class, cx, cy, w, h, the last four as fractions of the image."""

    images: Tensor
    targets: Tensor

    def pin_memory(self) -> Self:
        """Called by DataLoader, by this name."""
        return type(self)(self.images.pin_memory(), self.targets.pin_memory())


@dataclass(frozen=True, slots=True)
class Shard:
    """Which of the processes that share each batch this one is."""

    rank: int = 0
    world_size: int = 1


class TrainDataset(Dataset[tuple[Tensor, Tensor]]):
    """Augmented images. Item: (3, S, S) uint8 RGB and (n, 5) float32 class, cx, cy, w, h as fractions; the same for the same (seed, epoch, index)."""

    def __init__(
        self,
        dataset: CocoDataset,
        augmentation: Augmentation,
        *,
        image_size: int,
        seed: int,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.seed = seed
        self._augmentation = augmentation
        self._size = image_size
        self._source = SourceImages(dataset, image_size, cache_bytes=cache_bytes)
        # Shared memory, because persistent workers hold a copy of this object from before the first epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of all following items, in the workers too. Call it between epochs, before iterating the loader."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        sample = self._compose(rng, index)
        sample = Sample(recolour(sample.image, ColourDraw.sample(rng, self._augmentation)), sample.labels)
        if rng.random() < self._augmentation.flip_vertical:
            sample = flip_vertical(sample)
        if rng.random() < self._augmentation.flip_horizontal:
            sample = flip_horizontal(sample)
        return torch.from_numpy(np.stack(cv2.split(sample.image))), torch.from_numpy(
            _targets(sample.labels, self._size)
        )

    def _compose(self, rng: np.random.Generator, index: int) -> Sample:
        """Build the picture of one item before colour and flips: a mosaic, two blended mosaics, or the image alone."""
        if rng.random() >= self._augmentation.mosaic:
            return self._transform(rng, centred(self._tile(rng, index), self._size))
        sample = self._mosaic(rng, index)
        if rng.random() < self._augmentation.mixup:
            other = self._mosaic(rng, int(rng.integers(len(self))))
            sample = mixup(sample, other, rng.beta(MIXUP_CONCENTRATION, MIXUP_CONCENTRATION))
        return sample

    def _mosaic(self, rng: np.random.Generator, index: int) -> Sample:
        nine = rng.random() < self._augmentation.mosaic9_share
        partners = rng.integers(len(self), size=8 if nine else 3)
        tiles = [self._tile(rng, int(i)) for i in (index, *partners)]
        low, high = (0.0, 1.0) if nine else (0.5, 1.5)
        y, x = (int(rng.uniform(low * self._size, high * self._size)) for _ in range(2))
        return self._transform(rng, (mosaic9 if nine else mosaic4)(tiles, (x, y), self._size))

    def _tile(self, rng: np.random.Generator, index: int) -> Sample:
        return self._source.load(index, rng.uniform(*self._augmentation.stretch))

    def _transform(self, rng: np.random.Generator, sample: Sample) -> Sample:
        return affine(sample, AffineDraw.sample(rng, self._augmentation), (self._size, self._size))


class EpochOrder(Sampler[int]):
    """A fresh shuffle each epoch; with several processes each takes every n-th image, so that their batches together are one process's batch."""

    def __init__(self, dataset: TrainDataset, shard: Shard) -> None:
        self._dataset = dataset
        self._shard = shard

    def __len__(self) -> int:
        return -(-len(self._dataset) // self._shard.world_size)

    def __iter__(self) -> Iterator[int]:
        # The third number keeps this stream apart from every item's, whose third number is below the length.
        rng = np.random.default_rng((self._dataset.seed, self._dataset.epoch, len(self._dataset)))
        order = rng.permutation(len(self._dataset))
        padded = np.resize(
            order, len(self) * self._shard.world_size
        )  # repeats from the start: every process has as many steps
        return iter(padded[self._shard.rank :: self._shard.world_size].tolist())


def train_loader(
    dataset: TrainDataset, batch_size: int, *, workers: int = 0, shard: Shard = Shard(), pin_memory: bool = False
) -> DataLoader[Batch]:
    """Iterate over an epoch's batches of ``batch_size`` (per process); the last may be smaller. ``dataset.set_epoch`` chooses the epoch.

    Starting again at an epoch boundary needs nothing but ``set_epoch``.
    """
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # DataLoader[T] has one parameter for what goes in and what collate_fn makes of it
        batch_size,
        sampler=EpochOrder(dataset, shard),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # DataLoader draws from it; the global generator stays as it was
    )


def collate(items: list[tuple[Tensor, Tensor]]) -> Batch:
    """Stack items; each target row gets its image's place in the batch in front."""
    rows = [torch.nn.functional.pad(targets, (1, 0), value=place) for place, (_, targets) in enumerate(items)]
    return Batch(torch.stack([image for image, _ in items]), torch.cat(rows))


def _start_worker(_worker: int) -> None:
    # One process per core already; besides, OpenCV's own threads do not survive the fork.
    cv2.setNumThreads(0)


def _targets(labels: Labels, size: int) -> NDArray[np.float32]:
    low, high = labels.boxes[:, :2] / size, labels.boxes[:, 2:] / size
    return np.concatenate((labels.classes[:, None].astype(np.float32), (low + high) / 2, high - low), axis=1)
