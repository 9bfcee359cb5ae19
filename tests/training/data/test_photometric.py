from dataclasses import astuple

import numpy as np
import pytest

from training.config import Augmentation
from training.data.photometric import ColourDraw, recolour


@pytest.mark.parametrize("case", range(4))
def test_golden(golden, triangle_wave, case):
    with np.load(golden / "hsv.npz") as arrays:
        hue, saturation, value = 1 + arrays[f"{case}_draws"] * (0.015, 0.7, 0.4)
        expected_bgr = arrays[f"{case}_out"].astype(int)
    rgb = np.ascontiguousarray(triangle_wave(64, 96)[..., ::-1])
    difference = recolour(rgb, ColourDraw(hue, saturation, value))[..., ::-1] - expected_bgr
    assert np.abs(difference).max() <= 1  # equal where OpenCV is of the same version


def test_red_stays_red_whatever_its_brightness():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_array_equal(recolour(red, ColourDraw(value=0.5))[0, 0], [100, 0, 0])


def test_nothing_but_rounding_happens_at_factors_of_one(triangle_wave):
    image = triangle_wave(32, 32)
    before = image.copy()
    difference = recolour(image, ColourDraw()).astype(int) - image
    assert np.abs(difference).max() <= 6  # the hue circle has only 180 steps
    np.testing.assert_array_equal(image, before)


def test_grey_without_saturation(triangle_wave):
    image = recolour(triangle_wave(32, 32), ColourDraw(saturation=0))
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_draws_fill_the_ranges_of_the_recipe():
    rng, recipe = np.random.default_rng(0), Augmentation(hue=0.1, saturation=0.5, value=0)
    draws = np.array([astuple(ColourDraw.sample(rng, recipe)) for _ in range(500)])
    np.testing.assert_allclose(draws.min(axis=0), (0.9, 0.5, 1), atol=0.01)
    np.testing.assert_allclose(draws.max(axis=0), (1.1, 1.5, 1), atol=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_grey_pictures_take_a_shorter_way_to_the_same_pixels(seed):
    rng = np.random.default_rng(seed)
    grey = np.repeat(rng.integers(0, 256, (80, 90, 1), np.uint8), 3, axis=2)
    coloured = grey.copy()
    coloured[0, 1] = 10, 20, 30  # one pixel, which takes the long way for all
    draw = ColourDraw(*rng.uniform(0.5, 1.5, 3))
    np.testing.assert_array_equal(recolour(grey, draw)[1:], recolour(coloured, draw)[1:])
