"""Test-time augmentation: each batch seen at three scales, once mirrored, the candidates put together before NMS.

The scales are the reference's: 1, 0.83 mirrored, and 0.67. It wraps any ``Infer``, so nothing else need know of it; it
costs a little over twice the time of one look (1 + 0.69 + 0.45 of the pixels).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Candidates
from service.vision.letterbox import FILL
from training.evaluate.served import Infer

LOOKS = ((1.0, False), (0.83, True), (0.67, False))
"""Scale, and whether mirrored left to right."""


def augmented(infer: Infer, stride: int) -> Infer:
    """Return an ``Infer`` that looks three times. Smaller looks are filled up with grey to whole strides."""

    def looking(images: NDArray[np.uint8]) -> list[Candidates]:
        looks = [_look(infer, images, stride, scale=scale, mirrored=mirrored) for scale, mirrored in LOOKS]
        return [_joined(of_image) for of_image in zip(*looks, strict=True)]

    return looking


def smallest_shapes(shapes_hw: Sequence[tuple[int, int]], stride: int) -> list[tuple[int, int]]:
    """The shapes that the smallest look turns ``shapes_hw`` into: what the number of candidates must fit."""
    scale = min(scale for scale, _ in LOOKS)
    return [_filled((round(height * scale), round(width * scale)), stride) for height, width in shapes_hw]


def _look(
    infer: Infer, images: NDArray[np.uint8], stride: int, *, scale: float, mirrored: bool
) -> Sequence[Candidates]:
    height, width = images.shape[1:3]
    size_hw = round(height * scale), round(width * scale)
    batch = np.full((len(images), *_filled(size_hw, stride), 3), FILL, np.uint8)
    for image, slot in zip(images, batch, strict=True):
        seen = image[:, ::-1] if mirrored else image
        inside = slot[: size_hw[0], : size_hw[1]]
        inside[:] = seen if scale == 1 else cv2.resize(seen, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    factors = np.array([width / size_hw[1], height / size_hw[0]] * 2, np.float32)
    found = infer(batch)
    return [_back(one, factors, width if mirrored else None) for one in found]


def _back(found: Candidates, factors: NDArray[np.float32], mirrored_in: int | None) -> Candidates:
    """Candidates of a look in the frame of the whole one."""
    boxes = found.boxes * factors
    if mirrored_in is not None:
        boxes[:, [0, 2]] = mirrored_in - boxes[:, [2, 0]]
    return Candidates(boxes, found.scores, found.classes, found.predictions)


def _joined(looks: Sequence[Candidates]) -> Candidates:
    beyond = np.cumsum([0, *(int(look.predictions.max(initial=-1)) + 1 for look in looks)]).tolist()
    return Candidates(
        np.concatenate([look.boxes for look in looks]),
        np.concatenate([look.scores for look in looks]),
        np.concatenate([look.classes for look in looks]),
        np.concatenate([look.predictions + start for look, start in zip(looks, beyond, strict=False)]).astype(np.int32),
    )


def _filled(size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size_hw[0] // stride) * stride, -(-size_hw[1] // stride) * stride
