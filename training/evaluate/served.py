"""Detections by the protocol ``served``, with the very letterbox and postprocess that serve.

DeployModel's candidates, ``service.vision`` letterbox to a served shape and postprocess, confidence 0.001, IoU 0.65, at
most 300 detections, multi-label. What runs the graph (torch, ONNX Runtime) is the caller's choice. The next batch is
decoded and letterboxed while the network has this one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from service.vision.detections import Candidates, Detections
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import SERVED_EVALUATION, postprocess
from training.data import CocoDataset, read_pixels
from training.nets import Network

Infer = Callable[[NDArray[np.uint8]], Sequence[Candidates]]
"""Candidates of each image of a uint8 RGB batch (B, H, W, 3)."""

_THREADS = 2
_AHEAD = 3  # batches

Key = TypeVar("Key")
Made = TypeVar("Made")


def torch_infer(model: torch.nn.Module, device: torch.device) -> Infer:
    """Adapt a DeployModel that lies on ``device`` to ``Infer``."""

    def infer(images: NDArray[np.uint8]) -> list[Candidates]:
        with torch.inference_mode():
            outputs = [output.numpy(force=True) for output in model(torch.from_numpy(images).to(device))]
        return [Candidates(*rows) for rows in zip(*outputs, strict=True)]

    return infer


def max_candidates(network: Network, shapes_hw: Sequence[tuple[int, int]], *, wanted: int = 1000) -> int:
    """K for these input shapes: ``wanted``, or all predictions of the smallest shape where it has fewer."""
    anchors = network.anchors.shape[1]
    fewest = min(sum(anchors * (h // s) * (w // s) for s in network.strides) for h, w in shapes_hw)
    return min(wanted, fewest)


def detect(
    infer: Infer,
    dataset: CocoDataset,
    *,
    shapes_hw: Sequence[tuple[int, int]],
    batch_size: int = 8,
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in original pixels) for every image, by the protocol ``served``.

    Images are grouped by the served shape that fits them, so that every batch is full and of one shape. Raises
    DatasetError.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(dataset.images):
        by_shape.setdefault(choose_shape((image.height, image.width), shapes_hw), []).append(index)
    chunks = [
        (shape_hw, indices[begin : begin + batch_size])
        for shape_hw, indices in by_shape.items()
        for begin in range(0, len(indices), batch_size)
    ]

    def prepare(chunk: tuple[tuple[int, int], list[int]]) -> tuple[NDArray[np.uint8], list[Letterbox]]:
        return _lay(dataset, chunk[1], chunk[0])

    with ThreadPoolExecutor(_THREADS) as pool:
        for (_, indices), (batch, letterboxes) in zip(chunks, ahead(pool, prepare, chunks), strict=True):
            for index, candidates, letterbox in zip(indices, infer(batch), letterboxes, strict=True):
                yield dataset.images[index].id, postprocess(candidates, letterbox, SERVED_EVALUATION)


def ahead(pool: ThreadPoolExecutor, make: Callable[[Key], Made], keys: Iterable[Key]) -> Iterator[Made]:
    """Yield ``make(key)`` in order, a few of them made in advance; what was not begun is dropped with the iterator."""
    waiting: deque[Future[Made]] = deque()
    try:
        for key in keys:
            waiting.append(pool.submit(make, key))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _lay(
    dataset: CocoDataset, indices: Sequence[int], shape_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], list[Letterbox]]:
    batch = np.empty((len(indices), *shape_hw, 3), np.uint8)
    letterboxes = []
    for slot, index in zip(batch, indices, strict=True):
        pixels = read_pixels(dataset.images[index])
        letterbox = Letterbox.fit((pixels.shape[0], pixels.shape[1]), shape_hw)
        letterbox.apply(pixels, out=slot)
        letterboxes.append(letterbox)
    return batch, letterboxes
