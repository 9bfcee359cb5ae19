"""Detections by the protocol ``paper``: as the reference validates, for figures beside published ones.

32 images of like shape together in rectangles half a stride larger than needed, every prediction above 0.001 (of an
image the best 30,000 pairs of prediction and class) instead of K candidates, IoU 0.65, 300 detections, multi-label.
Decoding, letterbox and suppression are those that serve; boxes follow the pixels exactly, where the reference rounds.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.vision.detections import Candidates, Detections
from service.vision.letterbox import Letterbox
from service.vision.postprocess import SERVED_EVALUATION, postprocess
from training.data import CocoDataset, DatasetImage, read_pixels
from training.data.geometry import fitted_hw
from training.data.rectangles import Rectangle, rectangles
from training.evaluate.served import Infer, ahead
from training.nets import Network, decode, to_deploy

ROWS = 30_000
TOGETHER = 32  # images that share a rectangle: the reference's batch, whatever fits into memory at once here


def paper_infer(network: Network, device: torch.device) -> Infer:
    """Candidates of every prediction above 0.001, of a network in any form."""
    deployed = to_deploy(network).to(device)

    def infer(images: NDArray[np.uint8]) -> list[Candidates]:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
            return [_above(table) for table in decode(deployed(pixels), deployed.anchors, deployed.strides)]

    return infer


def detect_paper(
    infer: Infer,
    dataset: CocoDataset,
    *,
    image_size: int,
    stride: int,
    batch_size: int = 8,
) -> Iterator[tuple[int, Detections]]:
    """Yield (image id, detections in original pixels) for every image. Raises DatasetError."""
    sizes_wh = [(image.width, image.height) for image in dataset.images]
    plan = [
        Rectangle(rectangle.indices[begin : begin + batch_size], rectangle.shape_hw)
        for rectangle in rectangles(sizes_wh, TOGETHER, image_size=image_size, stride=stride)
        for begin in range(0, len(rectangle.indices), batch_size)
    ]

    def prepare(rectangle: Rectangle) -> tuple[NDArray[np.uint8], list[Letterbox]]:
        laid = [_lay(dataset.images[index], rectangle.shape_hw, image_size) for index in rectangle.indices]
        return np.stack([pixels for pixels, _ in laid]), [letterbox for _, letterbox in laid]

    with ThreadPoolExecutor(1) as pool:
        prepared = ahead(pool, prepare, plan)
        for rectangle, (batch, letterboxes) in zip(plan, prepared, strict=True):
            for index, candidates, letterbox in zip(rectangle.indices, infer(batch), letterboxes, strict=True):
                yield dataset.images[index].id, postprocess(candidates, letterbox, SERVED_EVALUATION)


def _lay(image: DatasetImage, shape_hw: tuple[int, int], image_size: int) -> tuple[NDArray[np.uint8], Letterbox]:
    """Scale the longer side to ``image_size``, then lay the image into the rectangle, no larger than it is."""
    pixels = read_pixels(image)
    height, width = fitted_hw(image.height, image.width, image_size)
    way = cv2.INTER_AREA if image_size < max(image.height, image.width) else cv2.INTER_LINEAR
    fitted = np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.uint8)
    inner = Letterbox.fit((height, width), shape_hw, scale_up=False)
    ratio = inner.resized_hw[0] / image.height
    whole = Letterbox((image.height, image.width), shape_hw, ratio, inner.resized_hw, inner.top, inner.left)
    return inner.apply(fitted), whole


def _above(table: Tensor) -> Candidates:
    """Candidates of one image's decoded predictions (N, 5 + C)."""
    classes = table[:, 4:5] if table.shape[1] == 6 else table[:, 4:5] * table[:, 5:]  # one class: objectness alone
    predictions, columns = (classes > SERVED_EVALUATION.confidence).nonzero(as_tuple=True)
    scores = classes[predictions, columns]
    if len(scores) > ROWS:
        best = scores.topk(ROWS).indices
        scores, predictions, columns = scores[best], predictions[best], columns[best]
    centre, half = table[predictions, :2], table[predictions, 2:4] / 2
    boxes = torch.cat([centre - half, centre + half], 1)
    parts = boxes, scores, columns.int(), predictions.int()
    return Candidates(*(part.numpy(force=True) for part in parts))
