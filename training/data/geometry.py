"""Where pixels go: scale, rotation, shear, perspective, translation and flips, of an image and its objects together.

Draws are separate from doing: ``AffineDraw.sample`` asks the generator, ``affine`` only computes.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import Augmentation
from training.data.outlines import outline_boxes, project
from training.data.sample import FILL, Labels, Sample, Scene, Window

MIN_SIDE = 2.0  # pixels: what is left of an object must be larger
MAX_ASPECT = 20.0
MIN_AREA_LEFT = 0.1  # of the object's box before the transform, at the new scale
MIN_AREA_LEFT_OUTLINED = 0.01  # an outline's box shrinks for other reasons than being cut, so less is asked


@dataclass(frozen=True, slots=True)
class AffineDraw:
    """One random transform, in degrees and factors; translation: the new place of the centre, in fractions."""

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
        """Draw a transform within the recipe's ranges.

        The range of the scale is not symmetric: its upper end starts from 1.1, as for the published figures.
        """
        a = augmentation
        return cls(
            perspective_x=rng.uniform(-a.perspective, a.perspective),
            perspective_y=rng.uniform(-a.perspective, a.perspective),
            angle=rng.uniform(-a.degrees, a.degrees),
            scale=rng.uniform(1 - a.scale, 1.1 + a.scale),
            shear_x=rng.uniform(-a.shear, a.shear),
            shear_y=rng.uniform(-a.shear, a.shear),
            translate_x=rng.uniform(0.5 - a.translate, 0.5 + a.translate),
            translate_y=rng.uniform(0.5 - a.translate, 0.5 + a.translate),
        )

    def matrix(self, source_hw: tuple[int, int], output_hw: tuple[int, int]) -> NDArray[np.float64]:
        """Return the (3, 3) matrix from source to output pixels.

        Applied in turn: source's centre to the origin, perspective, rotation with scale, shear, translation.
        """
        centre, perspective, shear, translation = (np.eye(3) for _ in range(4))
        centre[:2, 2] = -source_hw[1] / 2, -source_hw[0] / 2
        perspective[2, :2] = self.perspective_x, self.perspective_y
        turn = np.radians(self.angle)
        cos, sin = self.scale * np.cos(turn), self.scale * np.sin(turn)
        rotation = np.array(((cos, sin, 0), (-sin, cos, 0), (0, 0, 1)))
        shear[0, 1], shear[1, 0] = np.tan(np.radians((self.shear_x, self.shear_y)))
        translation[:2, 2] = self.translate_x * output_hw[1], self.translate_y * output_hw[0]
        return np.asarray(translation @ shear @ rotation @ perspective @ centre, np.float64)


def affine(scene: Scene, draw: AffineDraw, output_hw: tuple[int, int]) -> Sample:
    """Transform a scene into a sample of ``output_hw``; uncovered pixels are grey, objects mostly gone are dropped.

    Outlines end here: the result has boxes only.
    """
    matrix = draw.matrix(scene.hw, output_hw)
    flat = not (draw.perspective_x or draw.perspective_y)
    window = _seen(matrix, scene.hw, output_hw) if flat else Window(0, 0, scene.hw[1], scene.hw[0])
    pixels, local = scene.cut(window), matrix.copy()
    local[:, 2] = matrix @ (window.left, window.top, 1)
    size, grey = (output_hw[1], output_hw[0]), (FILL,) * 4
    if flat:
        warped = cv2.warpAffine(pixels, local[:2], size, borderValue=grey)
    else:
        warped = cv2.warpPerspective(pixels, local, size, borderValue=grey)
    labels = scene.labels
    boxes, outlined = _moved_boxes(labels, matrix, output_hw)
    least = np.where(outlined, MIN_AREA_LEFT_OUTLINED, MIN_AREA_LEFT)
    keep = worth_keeping(labels.boxes * np.float32(draw.scale), boxes, least)
    image = np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), np.uint8)
    return Sample(image, Labels(boxes[keep], labels.classes[keep]))


def _seen(matrix: NDArray[np.float64], source_hw: tuple[int, int], output_hw: tuple[int, int]) -> Window:
    """Return the part of the source that an affine output shows, and what its edges are interpolated with."""
    height, width = output_hw
    corners = np.array(((0, 0), (width, 0), (0, height), (width, height)), np.float64)
    points = project(np.asarray(np.linalg.inv(matrix), np.float64), corners)
    left, top = np.floor(points.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(points.max(axis=0)).astype(int).tolist()
    # At least a pixel, even where the source lies outside the output altogether.
    left, top = min(max(left - 2, 0), source_hw[1] - 1), min(max(top - 2, 0), source_hw[0] - 1)
    return Window(left, top, max(min(right + 2, source_hw[1]), left + 1), max(min(bottom + 2, source_hw[0]), top + 1))


def worth_keeping(
    before: NDArray[np.float32], after: NDArray[np.float32], least: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which boxes are still more than 2 px each way, less than 20:1 and more than ``least`` of their old area.

    before, after: (N, 4) xyxy at one scale. least: (N,) fractions.
    """
    (old_w, old_h), (w, h) = (before[:, 2:] - before[:, :2]).T, (after[:, 2:] - after[:, :2]).T
    shaped = np.maximum(w, h) < MAX_ASPECT * np.minimum(w, h)
    return np.asarray((w > MIN_SIDE) & (h > MIN_SIDE) & shaped & (w * h > least * old_w * old_h), np.bool_)


def flip_horizontal(sample: Sample) -> Sample:
    """Mirror left and right."""
    labels = sample.labels.scaled(-1, 1).shifted(sample.image.shape[1], 0)
    return Sample(np.asarray(cv2.flip(sample.image, 1), np.uint8), labels)


def flip_vertical(sample: Sample) -> Sample:
    """Mirror top and bottom."""
    labels = sample.labels.scaled(1, -1).shifted(0, sample.image.shape[0])
    return Sample(np.asarray(cv2.flip(sample.image, 0), np.uint8), labels)


def fit_long_side(image: NDArray[np.uint8], size: int, stretch: float = 1.0) -> NDArray[np.uint8]:
    """Scale (H, W, 3) uint8 so that the longer side is ``size``, the width first multiplied by ``stretch``.

    An image that fits already is returned itself, not a copy.
    """
    height, width = fitted_hw(image.shape[0], image.shape[1] * stretch, size)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def fitted_hw(height: float, width: float, size: int) -> tuple[int, int]:
    """Return the sides whose longer is ``size`` and whose shorter is truncated to whole pixels, at least one."""
    if width >= height:
        return max(int(size * height / width), 1), size
    return size, max(int(size * width / height), 1)


def _moved_boxes(
    labels: Labels, matrix: NDArray[np.float64], output_hw: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the upright boxes (N, 4) around the transformed objects inside the output, and which came from outlines.

    A box is bounded by its four corners, which is loose once it turns or is cut; an outline by its own points.
    """
    height, width = output_hw
    corners = project(matrix, labels.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))  # (N, 4, 2)
    limit = np.array((width, height, width, height), np.float32)
    boxes = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1).astype(np.float32).clip(0, limit)
    outlined = np.zeros(len(labels), np.bool_)
    outlined[: len(labels.outlines)] = [outline is not None for outline in labels.outlines]
    if outlined.any():
        outlines = [outline for outline in labels.outlines if outline is not None]
        boxes[outlined] = outline_boxes(outlines, matrix, output_hw)
    return boxes, outlined
