"""Calibration images are the service's own: each in the served shape that fits it, chosen by seed."""

import numpy as np
import pytest

from service.vision.letterbox import Letterbox
from training.data import CocoDataset, DatasetError, read_pixels
from training.export.precision.calibration import Calibration

SHAPES = ((64, 96), (96, 64))


def test_each_image_is_laid_into_the_shape_that_fits(pictures_set: CocoDataset) -> None:
    images = list(Calibration.choose(pictures_set, SHAPES, count=10))
    assert [image.shape for image in images] == [(1, 64, 96, 3), (1, 96, 64, 3)] * 3
    pixels = read_pixels(pictures_set.images[0])
    np.testing.assert_array_equal(images[0][0], Letterbox.fit((48, 80), (64, 96)).apply(pixels))


def test_the_seed_chooses_and_a_second_pass_is_the_same(pictures_set: CocoDataset) -> None:
    chosen = [Calibration.choose(pictures_set, SHAPES, count=3, seed=seed) for seed in (0, 0, 1)]
    ids = [[image.id for image in calibration.images] for calibration in chosen]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0] == sorted(ids[0])
    assert len(chosen[0]) == len(ids[0]) == 3
    for first, second in zip(chosen[0], chosen[0], strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_empty_set_is_refused(pictures_set: CocoDataset) -> None:
    empty = CocoDataset(pictures_set.class_names, pictures_set.category_ids, (), {})
    with pytest.raises(DatasetError, match="no image"):
        Calibration.choose(empty, SHAPES, count=3)
