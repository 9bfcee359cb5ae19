"""Training batches: which images, augmented how, in what order, as tensors.

Everything random about an image comes from ``default_rng((seed, epoch, index))``, and the order from a stream of its
own, so that (seed, epoch) fixes every batch, whatever the number of workers or what ran before. This module knows
nothing of the network or the loss.
"""

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from training.config import Augmentation
from training.data.coco import CocoDataset, DatasetError
from training.data.disk import DiskCache
from training.data.geometry import AffineDraw, affine, flip_horizontal, flip_vertical
from training.data.mosaic import centred, mixup, mosaic4, mosaic9
from training.data.paste import collect, paste_in
from training.data.photometric import ColourDraw, recolour
from training.data.sample import Labels, Sample, Scene
from training.data.source import SourceImages

MIXUP_CONCENTRATION = 8.0  # both parameters of the Beta distribution that the blend is drawn from: mostly near halves


@dataclass(frozen=True, slots=True)
class Batch:
    """A step's images and objects.

    images: (B, 3, S, S) uint8 RGB, channels last in memory. targets: (M, 6) float32, rows [image, class, cx, cy, w, h],
    the boxes in 0..1.
    """

    images: Tensor
    targets: Tensor

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory; DataLoader asks for it by this name."""
        return type(self)(self.images.pin_memory(), self.targets.pin_memory())


@dataclass(frozen=True, slots=True)
class Shard:
    """Which one this is of the processes that share each batch."""

    rank: int = 0
    world_size: int = 1


class TrainDataset(Dataset[tuple[Tensor, Tensor]]):
    """Augmented images: (3, S, S) uint8 RGB and (n, 5) float32 rows [class, cx, cy, w, h], the boxes in 0..1.

    An item depends on (seed, epoch, index) alone. ``cache_bytes``: memory that source images may take;
    ``disk``: where those lie that it does not hold.
    """

    def __init__(
        self,
        dataset: CocoDataset,
        augmentation: Augmentation,
        *,
        image_size: int,
        seed: int,
        cache_bytes: int = 2 << 30,
        disk: DiskCache | None = None,
    ) -> None:
        self.seed = seed
        self._augmentation = augmentation
        self._size = image_size
        self._source = SourceImages(dataset, image_size, cache_bytes=cache_bytes, disk=disk)
        # In shared memory, because persistent workers hold a copy of this object made before the first epoch.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """The epoch, from 0, that items belong to."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of all following items, in the workers too. Call it before iterating over the loader."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        sample = self._composed(rng, index)
        sample = Sample(recolour(sample.image, ColourDraw.sample(rng, self._augmentation)), sample.labels)
        if self._source.outlined and rng.random() < self._augmentation.paste_in:
            cut_outs = collect(rng, lambda: self._tile(rng, int(rng.integers(len(self)))))
            sample = paste_in(sample, cut_outs, rng)
        if rng.random() < self._augmentation.flip_vertical:
            sample = flip_vertical(sample)
        if rng.random() < self._augmentation.flip_horizontal:
            sample = flip_horizontal(sample)
        # A view: the pixels stay together, which is what networks in channels-last order read.
        return torch.from_numpy(sample.image).permute(2, 0, 1), torch.from_numpy(targets(sample.labels, sample.hw))

    def _composed(self, rng: np.random.Generator, index: int) -> Sample:
        """Build an item before colour and flips: a mosaic, two mosaics blended, or the image alone."""
        if rng.random() >= self._augmentation.mosaic:
            return self._transformed(rng, centred(self._tile(rng, index), self._size))
        sample = self._mosaic(rng, index)
        if rng.random() < self._augmentation.mixup:
            other = self._mosaic(rng, int(rng.integers(len(self))))
            sample = mixup(sample, other, rng.beta(MIXUP_CONCENTRATION, MIXUP_CONCENTRATION))
        return sample

    def _mosaic(self, rng: np.random.Generator, index: int) -> Sample:
        nine = rng.random() < self._augmentation.mosaic9_share
        partners = rng.integers(len(self), size=8 if nine else 3).tolist()
        tiles = [self._tile(rng, tile) for tile in (index, *partners)]
        low, high = (0.0, 1.0) if nine else (0.5, 1.5)  # of the window's corner; of the point that four tiles touch
        y, x = (int(rng.uniform(low, high) * self._size) for _ in "yx")
        return self._transformed(rng, (mosaic9 if nine else mosaic4)(tiles, (x, y), self._size))

    def _tile(self, rng: np.random.Generator, index: int) -> Sample:
        return self._source.load(index, rng.uniform(*self._augmentation.stretch))

    def _transformed(self, rng: np.random.Generator, scene: Scene) -> Sample:
        return affine(scene, AffineDraw.sample(rng, self._augmentation), (self._size, self._size))


class EpochOrder(Sampler[int]):
    """The shuffle of an epoch; of n processes each takes every n-th image, so their batches make up one batch."""

    def __init__(self, dataset: TrainDataset, shard: Shard) -> None:
        self._dataset = dataset
        self._shard = shard
        self.skip = 0  # images of this process that an epoch which goes on leaves out; the length stays the whole

    def __len__(self) -> int:
        world_size = self._shard.world_size
        return (len(self._dataset) + world_size - 1) // world_size

    def __iter__(self) -> Iterator[int]:
        # An item's third number is below the length, so this stream is none of theirs.
        rng = np.random.default_rng((self._dataset.seed, self._dataset.epoch, len(self._dataset)))
        order = rng.permutation(len(self._dataset))
        # Repeated from its start where the processes do not divide it, so that all take as many steps.
        shared = np.resize(order, len(self) * self._shard.world_size)
        return iter(shared[self._shard.rank :: self._shard.world_size][self.skip :].tolist())


class _Loader(DataLoader[Batch]):
    """A worker's DatasetError in its own words: torch puts the worker's traceback around them, as text."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # DataLoader promises a class that it keeps private
        try:
            yield from super().__iter__()
        except DatasetError as exc:
            raise DatasetError(str(exc).rstrip().rpartition(f"{DatasetError.__name__}: ")[2]) from exc


def train_loader(
    dataset: TrainDataset, batch_size: int, *, workers: int = 0, shard: Shard | None = None, pin_memory: bool = False
) -> DataLoader[Batch]:
    """Iterate over the batches of the dataset's epoch; ``batch_size`` is per process, the last batch may be smaller.

    To resume at an epoch takes nothing but ``dataset.set_epoch``. Iterating raises DatasetError for an image that
    cannot be read.
    """
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)  # after multiprocessing's own, so it comes before that
    return _Loader(
        dataset,  # type: ignore[arg-type]  # DataLoader[T] has one name for items and for what collate makes of them
        batch_size,
        sampler=EpochOrder(dataset, shard or Shard()),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=start_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # DataLoader draws from it each epoch; the global generator is left alone
    )


def collate(items: list[tuple[Tensor, Tensor]]) -> Batch:
    """Stack items into a batch; before each target row comes its image's place."""
    rows = [F.pad(targets, (1, 0), value=place) for place, (_, targets) in enumerate(items)]
    images = torch.stack([image.permute(1, 2, 0) for image, _ in items]).permute(0, 3, 1, 2)
    return Batch(images, torch.cat(rows))


def start_worker(_worker: int) -> None:
    """Prepare a worker process."""
    # Who stops a training tells its whole process group (torchrun, systemd, a terminal). The loop leaves in its own
    # time and needs its workers until then; they end with it (``_end_workers``).
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # The workers share the cores already, and the threads that OpenCV had in the parent do not survive the fork.
    cv2.setNumThreads(0)


def _end_workers() -> None:
    """Kill the workers of a process that exits without having closed its loader, as after an error.

    multiprocessing would ask them by SIGTERM, which they ignore, and then wait for them without end.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would print that a worker was killed
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def targets(labels: Labels, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (n, 5) rows [class, cx, cy, w, h] that the loss reads, boxes as fractions of the image."""
    boxes = labels.boxes / np.array((size_hw[1], size_hw[0]) * 2, np.float32)
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate((labels.classes[:, None].astype(np.float32), (low + high) / 2, high - low), axis=1)
