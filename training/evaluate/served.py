"""Detections by the protocol ``served``, with the very letterbox and postprocess that serve.

DeployModel's candidates, ``service.vision`` letterbox to a served shape and postprocess, confidence 0.001, IoU 0.65, at
most 300 detections, multi-label. What runs the graph (torch, ONNX Runtime) is the caller's choice.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

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
    infer: Infer, dataset: CocoDataset, *, shapes_hw: Sequence[tuple[int, int]], batch_size: int = 8
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in original pixels) for every image, by the protocol ``served``.

    Images are grouped by the served shape that fits them, so that every batch is full and of one shape. Raises
    DatasetError.
    """
    by_shape: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(dataset.images):
        by_shape.setdefault(choose_shape((image.height, image.width), shapes_hw), []).append(index)
    for shape_hw, indices in by_shape.items():
        queue = iter(indices)
        while chunk := list(islice(queue, batch_size)):
            batch = np.empty((len(chunk), *shape_hw, 3), np.uint8)
            letterboxes = []
            for slot, index in zip(batch, chunk, strict=True):
                pixels = read_pixels(dataset.images[index])
                letterbox = Letterbox.fit((pixels.shape[0], pixels.shape[1]), shape_hw)
                letterbox.apply(pixels, out=slot)
                letterboxes.append(letterbox)
            for index, candidates, letterbox in zip(chunk, infer(batch), letterboxes, strict=True):
                yield dataset.images[index].id, postprocess(candidates, letterbox, SERVED_EVALUATION)
