"""Where pixels go: stretch, rotation, scale, shear, perspective, translation and flips, of an image and its boxes together.

Draws are separate from doing: ``AffineDraw.sample`` asks the generator, ``affine`` only computes.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import Augmentation
from training.data.sample import FILL, Labels, Sample

MIN_SIDE = 2.0  # pixels: what is left of an object must be larger
MAX_ASPECT = 20.0
MIN_AREA_LEFT = 0.1  # of the object's area before the transform, measured at the new scale


@dataclass(frozen=True, slots=True)
class AffineDraw:
    """One random transform: degrees, factors, and translation as the place of the source's centre in fractions of the output."""

    perspective_x: float = 0.0
    perspective_y: float = 0.0
    angle: float = 0.0
    scale: float = 1.0
    shear_x: float = 0.0
    shear_y: float = 0.0
    translate_x: float = 0.5
    translate_y: float = 0.5

    @classmethod
    def sample(cls, rng: np.random.Generator, augmentation: Augmentation) -> Self:
        a = augmentation
        return cls(
            perspective_x=rng.uniform(-a.perspective, a.perspective),
            perspective_y=rng.uniform(-a.perspective, a.perspective),
            angle=rng.uniform(-a.degrees, a.degrees),
            # The recipe's range is not symmetric: the upper end starts from 1.1, and the published figures come from that.
            scale=rng.uniform(1 - a.scale, 1.1 + a.scale),
            shear_x=rng.uniform(-a.shear, a.shear),
            shear_y=rng.uniform(-a.shear, a.shear),
            translate_x=rng.uniform(0.5 - a.translate, 0.5 + a.translate),
            translate_y=rng.uniform(0.5 - a.translate, 0.5 + a.translate),
        )

    def matrix(self, source_hw: tuple[int, int], output_hw: tuple[int, int]) -> NDArray[np.float64]:
        """Return the (3, 3) matrix from source to output pixels: centre, perspective, rotation and scale, shear, translation."""
        centre, perspective, shear, translation = (np.eye(3) for _ in range(4))
        centre[:2, 2] = -source_hw[1] / 2, -source_hw[0] / 2
        perspective[2, :2] = self.perspective_x, self.perspective_y
        turn = np.radians(self.angle)
        cos, sin = self.scale * np.cos(turn), self.scale * np.sin(turn)
        rotation = np.array(((cos, sin, 0), (-sin, cos, 0), (0, 0, 1)))
        shear[0, 1], shear[1, 0] = np.tan(np.radians((self.shear_x, self.shear_y)))
        translation[:2, 2] = self.translate_x * output_hw[1], self.translate_y * output_hw[0]
        return np.asarray(translation @ shear @ rotation @ perspective @ centre, np.float64)


def affine(sample: Sample, draw: AffineDraw, output_hw: tuple[int, int]) -> Sample:
    """Transform a sample into a new one of ``output_hw``, uncovered pixels grey; objects of which too little is left are dropped."""
    matrix = draw.matrix((sample.image.shape[0], sample.image.shape[1]), output_hw)
    size, grey = (output_hw[1], output_hw[0]), (FILL, FILL, FILL)
    if draw.perspective_x or draw.perspective_y:
        image = cv2.warpPerspective(sample.image, matrix, size, borderValue=grey)
    else:
        image = cv2.warpAffine(sample.image, matrix[:2], size, borderValue=grey)
    return Sample(np.asarray(image, np.uint8), move_labels(sample.labels, matrix, draw.scale, output_hw))


def move_labels(labels: Labels, matrix: NDArray[np.float64], scale: float, output_hw: tuple[int, int]) -> Labels:
    """Return the upright boxes around the transformed corners, cut at the output, without objects that are too small, too thin or mostly gone."""
    corners = labels.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)  # (N, 4, 2)
    points = corners @ matrix[:, :2].T + matrix[:, 2]  # (N, 4, 3) homogeneous
    points = points[..., :2] / points[..., 2:]
    boxes = np.concatenate((points.min(axis=1), points.max(axis=1)), axis=1).astype(np.float32)
    moved = Labels(boxes, labels.classes).clipped(output_hw[1], output_hw[0])
    return moved.selected(worth_keeping(labels.boxes * scale, moved.boxes))


def worth_keeping(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which (N, 4) boxes are still more than 2 px each way, of aspect below 20, and more than a tenth of their area before."""
    (before_w, before_h), (w, h) = (before[:, 2:] - before[:, :2]).T, (after[:, 2:] - after[:, :2]).T
    large = (w > MIN_SIDE) & (h > MIN_SIDE)
    left = w * h > MIN_AREA_LEFT * before_w * before_h
    return np.asarray(large & left & (np.maximum(w, h) < MAX_ASPECT * np.minimum(w, h)), np.bool_)


def flip_horizontal(sample: Sample) -> Sample:
    width = sample.image.shape[1]
    boxes = sample.labels.boxes[:, [2, 1, 0, 3]] * np.array((-1, 1, -1, 1), np.float32) + np.array(
        (width, 0, width, 0), np.float32
    )
    return Sample(np.asarray(cv2.flip(sample.image, 1), np.uint8), Labels(boxes, sample.labels.classes))


def flip_vertical(sample: Sample) -> Sample:
    height = sample.image.shape[0]
    boxes = sample.labels.boxes[:, [0, 3, 2, 1]] * np.array((1, -1, 1, -1), np.float32) + np.array(
        (0, height, 0, height), np.float32
    )
    return Sample(np.asarray(cv2.flip(sample.image, 0), np.uint8), Labels(boxes, sample.labels.classes))


def fit_long_side(image: NDArray[np.uint8], size: int, stretch: float = 1.0) -> NDArray[np.uint8]:
    """Scale an (H, W, 3) image so that its longer side is ``size``, its width first multiplied by ``stretch``; sides are truncated."""
    height, width = image.shape[0], image.shape[1] * stretch
    ratio = size / max(height, width)
    target = max(int(width * ratio), 1), max(int(height * ratio), 1)
    if target == (image.shape[1], image.shape[0]):
        return image
    return np.asarray(cv2.resize(image, target, interpolation=cv2.INTER_LINEAR), np.uint8)
