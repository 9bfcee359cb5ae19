"""Paste-in: objects cut out of other images by their outlines and pasted where there is room.

The reference implementation cuts from mosaics of four, without a transform; here the cuts come from the four images
themselves, so that no canvas is drawn for them, and an object is not cut where a mosaic would end.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sample import Labels, Sample

ENOUGH = 30  # cut-outs to choose from
TRIES = (0.75,) * 2 + (0.5,) * 4 + (0.25,) * 4 + (0.125,) * 4 + (0.0625,) * 6  # of the image's sides, at most
_SKIPPED = 0.2  # probability of each try
_COVERED = 0.3  # of any object that is there already: less than that
_MIN_ROOM = 20  # pixels each way
_MIN_SIDE = 10
_MIN_MASK = 60  # pixels


@dataclass(frozen=True, slots=True)
class CutOut:
    """An object to paste. image: the image it is on; outline: (P, 2) float32 pixels of that image."""

    image: NDArray[np.uint8]
    outline: NDArray[np.float32]
    kind: int

    def scaled_into(self, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return pixels (h, w, 3) and mask (h, w) of the object, as large as fits in height and width."""
        low = np.maximum(np.floor(self.outline.min(axis=0)).astype(int), 0)
        high = np.minimum(np.ceil(self.outline.max(axis=0)).astype(int), self.image.shape[1::-1])
        part = self.image[low[1] : high[1], low[0] : high[0]]
        if not part.size:
            return np.empty((0, 0, 3), np.uint8), np.empty((0, 0), np.bool_)
        ratio = min(height / part.shape[0], width / part.shape[1])
        size = max(int(part.shape[1] * ratio), 1), max(int(part.shape[0] * ratio), 1)
        mask = np.zeros(size[::-1], np.uint8)
        cv2.fillPoly(mask, [np.round((self.outline - low) * ratio).astype(np.int32)], (1,))
        return np.asarray(cv2.resize(part, size), np.uint8), mask.astype(np.bool_)


def collect(rng: np.random.Generator, draw: Callable[[], Sample]) -> list[CutOut]:
    """Draw images by fours and take a random half of the outlined objects of each four, until there are enough.

    Nothing is taken where the first four have none, as in a set with boxes only.
    """
    found: list[CutOut] = []
    for _ in range(ENOUGH):
        outlined = [
            CutOut(sample.image, outline, int(kind))
            for sample in (draw() for _ in range(4))
            for outline, kind in zip(sample.labels.outlines, sample.labels.classes, strict=False)
            if outline is not None
        ]
        chosen = rng.permutation(len(outlined))[: round(0.5 * len(outlined))].tolist()
        found += [outlined[index] for index in chosen]
        if not found or len(found) >= ENOUGH:
            break
    return found


def paste_in(sample: Sample, cut_outs: list[CutOut], rng: np.random.Generator) -> Sample:
    """Paste some of the cut-outs into a copy of the sample; the box of each is the rectangle it was pasted in."""
    if not cut_outs:
        return sample
    height, width = sample.hw
    image, boxes = sample.image.copy(), sample.labels.boxes
    kinds = []
    for share in TRIES:
        if rng.random() < _SKIPPED:
            continue
        box = _room(rng, (height, width), share)
        if (box[2:] - box[:2]).min() <= _MIN_ROOM or (_covered(box, boxes) >= _COVERED).any():
            continue
        cut = cut_outs[int(rng.integers(len(cut_outs)))]
        left, top, right, bottom = box.tolist()
        pixels, mask = cut.scaled_into(bottom - top, right - left)
        if min(mask.shape) <= _MIN_SIDE or mask.sum() <= _MIN_MASK:
            continue
        bottom, right = top + mask.shape[0], left + mask.shape[1]
        image[top:bottom, left:right][mask] = pixels[mask]
        boxes = np.concatenate((boxes, np.array([[left, top, right, bottom]], np.float32)))
        kinds.append(cut.kind)
    # Outlines have ended at the transform before this step, so that none is missing now.
    return Sample(image, Labels(boxes, np.concatenate((sample.labels.classes, np.array(kinds, np.int64)))))


def _room(rng: np.random.Generator, size_hw: tuple[int, int], share: float) -> NDArray[np.int64]:
    """Return a random box xyxy of at most ``share`` of the image's sides, inside it."""
    size = np.array(size_hw[::-1])
    sides = rng.integers(1, np.maximum(size * share, 1).astype(int), endpoint=True)
    low = np.maximum(rng.integers(0, size, endpoint=True) - sides // 2, 0)
    return np.concatenate((low, np.minimum(low + sides, size)))


def _covered(box: NDArray[np.int64], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return which share of each of ``boxes`` (N, 4) the box covers."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray((high - low).clip(0).prod(axis=1) / np.maximum(area, 1e-6), np.float32)
