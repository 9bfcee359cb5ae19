"""What engines are tried on: the whole set, and few pictures of it for what needs no more.

The few are taken from where the parent finds something: of pictures in which nothing is, every engine says the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from service.vision.detections import Detections
from service.vision.letterbox import Letterbox, choose_shape
from service.vision.postprocess import SERVED_EVALUATION, postprocess
from training.data import CocoDataset, DatasetImage, read_pixels
from training.evaluate import Infer

FLOOR = 0.25  # what a request that names no confidence is answered
PICTURES = 16
_LOOKED_INTO = 4


@dataclass(frozen=True, slots=True, eq=False)
class Stretched:
    """Pictures that fill an input shape (H, W), by image id, uint8 (H, W, 3), and what the f32 graph finds there."""

    shape_hw: tuple[int, int]
    pixels: Mapping[int, NDArray[np.uint8]]
    expected: Mapping[int, Detections]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """name: of the model. parent: what it found, by image id. pictures: the few. stretched: for each input shape."""

    name: str
    shapes_hw: tuple[tuple[int, int], ...]
    dataset: CocoDataset
    parent: Mapping[int, Detections]
    pictures: tuple[DatasetImage, ...]
    stretched: tuple[Stretched, ...]

    def laid(self) -> list[NDArray[np.uint8]]:
        """Return a few pictures as the engine gets them, uint8 (1, H, W, 3) each. Raises DatasetError."""
        pixels = [read_pixels(image) for image in _spread(self.pictures, _LOOKED_INTO)]
        shapes = [choose_shape((each.shape[0], each.shape[1]), self.shapes_hw) for each in pixels]
        return [
            Letterbox.fit((each.shape[0], each.shape[1]), shape_hw).apply(each)[None]
            for each, shape_hw in zip(pixels, shapes, strict=True)
        ]


def choose_pictures(dataset: CocoDataset, parent: Mapping[int, Detections]) -> tuple[DatasetImage, ...]:
    """Return at most 16, from all over the set: those where the parent finds a box, others only where these are few."""
    busy = [image for image in dataset.images if (parent[image.id].scores >= FLOOR).any()]
    if len(busy) >= PICTURES:
        return _spread(busy, PICTURES)
    known = {image.id for image in busy}
    others = [image for image in dataset.images if image.id not in known]
    return (*busy, *_spread(others, PICTURES - len(busy)))


def stretch(
    infer: Infer, pictures: Sequence[DatasetImage], shapes_hw: Sequence[tuple[int, int]]
) -> tuple[Stretched, ...]:
    """Lay half of ``pictures`` into each input shape that pictures can get. Raises DatasetError."""
    stretched = []
    for shape_hw in shapes_hw:
        if choose_shape(shape_hw, shapes_hw) != shape_hw:
            continue  # a roomier shape is always preferred: no picture gets this one
        pixels = {image.id: _fill(read_pixels(image), shape_hw) for image in pictures[::2]}
        stretched.append(Stretched(shape_hw, pixels, find(infer, pixels)))
    return tuple(stretched)


def find(infer: Infer, pixels: Mapping[int, NDArray[np.uint8]]) -> dict[int, Detections]:
    """Ask an engine for pictures that fill its input shape, one after the other."""
    found = {}
    for key, image in pixels.items():
        letterbox = Letterbox.fit((image.shape[0], image.shape[1]), (image.shape[0], image.shape[1]))
        found[key] = postprocess(infer(image[None])[0], letterbox, SERVED_EVALUATION)
    return found


def _fill(pixels: NDArray[np.uint8], shape_hw: tuple[int, int]) -> NDArray[np.uint8]:
    return cv2.resize(pixels, shape_hw[::-1]).astype(np.uint8, copy=False)


def _spread(images: Sequence[DatasetImage], count: int) -> tuple[DatasetImage, ...]:
    return tuple(images[index * len(images) // count] for index in range(count)) if len(images) > count else (*images,)
