import json
from dataclasses import astuple

import cv2
import numpy as np
import pytest

from training.config import Augmentation
from training.data.geometry import (
    AffineDraw,
    affine,
    fit_long_side,
    fitted_hw,
    flip_horizontal,
    flip_vertical,
    worth_keeping,
)
from training.data.mosaic import mosaic4
from training.data.sample import FILL, Labels, Sample

RED = (255, 0, 0)


def labelled(boxes: object, outlines: tuple[np.ndarray | None, ...] = ()) -> Labels:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Labels(boxes, np.arange(len(boxes)), outlines)


def painted(size_hw: tuple[int, int], box: tuple[int, int, int, int]) -> Sample:
    image = np.zeros((*size_hw, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = RED
    return Sample(image, labelled(box))


def red_extent(image: np.ndarray) -> list[int]:
    # Red without green: the grey around the picture is not meant.
    rows, columns = np.nonzero((image[..., 0] > 127) & (image[..., 1] < 60))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def triangles(boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    x1, y1, x2, y2 = boxes.T
    corners = np.stack([x1, y1, x2, y1, (x1 + x2) / 2, y2], axis=1)
    return tuple(corners.reshape(-1, 3, 2).astype(np.float32))


@pytest.mark.parametrize("case", range(5))
def test_golden(golden, triangle_wave, case):
    meta = json.loads((golden / "perspective.json").read_text())[case]
    with np.load(golden / "perspective.npz") as file:
        before, after, at, pixels = (file[f"{case}_{name}"] for name in ("in", "out", "img_pos", "img"))
    outlines = triangles(before[:, 1:]) if meta["triangles"] else ()
    labels = Labels(before[:, 1:].astype(np.float32), before[:, 0].astype(np.int64), outlines)
    source = Sample(triangle_wave(meta["S"], meta["S"]), labels)
    moved = affine(source, AffineDraw(*(value for _, _, value in meta["draws"])), tuple(meta["out_shape"][:2]))
    np.testing.assert_array_equal(moved.labels.classes, after[:, 0])
    np.testing.assert_allclose(moved.labels.boxes, after[:, 1:], atol=1e-3)
    assert np.abs(moved.image.reshape(-1)[at].astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("seed", range(12))
def test_boxes_move_with_pixels(seed):
    recipe = Augmentation(degrees=20, shear=8, scale=0.4, translate=0.1, perspective=0.0005 * (seed % 2))
    source = painted((200, 200), (70, 80, 130, 110))
    moved = affine(source, AffineDraw.sample(np.random.default_rng(seed), recipe), (200, 200))
    np.testing.assert_allclose(moved.labels.boxes[0], red_extent(moved.image), atol=2)


def test_draws_fill_the_ranges_of_the_recipe():
    rng = np.random.default_rng(0)
    recipe = Augmentation(degrees=10, scale=0.5, translate=0.2, shear=2)
    draws = np.array([astuple(AffineDraw.sample(rng, recipe)) for _ in range(500)])
    np.testing.assert_allclose(draws.min(axis=0), (0, 0, -10, 0.5, -2, -2, 0.3, 0.3), atol=0.1)
    np.testing.assert_allclose(draws.max(axis=0), (0, 0, 10, 1.6, 2, 2, 0.7, 0.7), atol=0.1)


def test_the_default_draw_copies():
    source = painted((50, 50), (10, 10, 30, 30))
    copy = affine(source, AffineDraw(), (50, 50))
    np.testing.assert_array_equal(copy.image, source.image)
    np.testing.assert_array_equal(copy.labels.boxes, source.labels.boxes)


def test_uncovered_pixels_are_grey():
    moved = affine(painted((50, 50), (10, 10, 30, 30)), AffineDraw(scale=0.5), (50, 50))
    np.testing.assert_array_equal(moved.image[0, 0], [FILL] * 3)


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ((0, 0, 100, 100), True),
        ((0, 0, 2, 100), False),  # 2 px is not more than 2
        ((0, 0, 100, 2), False),
        ((0, 0, 5, 100), False),  # 20:1
        ((0, 0, 10, 99), False),  # less than a tenth left
        ((0, 0, 12, 99), True),
        ((50, 50, 50, 50), False),
    ],
)
def test_what_is_worth_keeping(after, kept):
    before, after = np.array([[0, 0, 100, 100]], np.float32), np.array([after], np.float32)
    assert worth_keeping(before, after, np.array([0.1]))[0] == kept


def test_an_outline_bounds_closer_than_corners_and_survives_stronger_cuts():
    right_angle = np.array([[0, 0], [100, 0], [0, 100]], np.float32)
    both = labelled([[0, 0, 100, 100]] * 2, (right_angle, None))
    cut = AffineDraw(translate_x=-0.3)  # only the right fifth stays, where the triangle is low
    moved = affine(Sample(np.zeros((100, 100, 3), np.uint8), both), cut, (100, 100))
    np.testing.assert_allclose(moved.labels.boxes, [[0, 0, 20, 20], [0, 0, 20, 100]], atol=0.5)


def test_an_outline_outside_the_output_is_dropped():
    outline = np.array([[0, 0], [9, 0], [9, 9]], np.float32)
    away = AffineDraw(translate_x=5)
    sample = Sample(np.zeros((10, 10, 3), np.uint8), labelled([0, 0, 9, 9], (outline,)))
    assert len(affine(sample, away, (10, 10)).labels) == 0


def test_no_objects_is_no_special_case():
    moved = affine(Sample(np.zeros((20, 20, 3), np.uint8), labelled([])), AffineDraw(angle=10), (30, 30))
    assert moved.labels.boxes.shape == (0, 4)


@pytest.mark.parametrize("flip", [flip_horizontal, flip_vertical])
def test_flips_move_boxes_with_pixels_and_undo_themselves(flip):
    source = painted((40, 60), (5, 8, 30, 20))
    flipped = flip(source)
    np.testing.assert_array_equal(flipped.labels.boxes[0], red_extent(flipped.image))
    assert not np.array_equal(flipped.image, source.image)
    np.testing.assert_array_equal(flip(flipped).image, source.image)
    np.testing.assert_array_equal(flip(flipped).labels.boxes, source.labels.boxes)


@pytest.mark.parametrize(
    ("size_hw", "stretch", "fitted_hw"),
    [
        ((200, 100), 1, (64, 32)),
        ((30, 45), 1, (42, 64)),  # 42.67 is truncated
        ((100, 100), 1.6, (40, 64)),
        ((100, 100), 0.5, (64, 32)),
        ((1000, 1), 1, (64, 1)),
    ],
)
def test_the_long_side_fits(size_hw, stretch, fitted_hw):
    assert fit_long_side(np.zeros((*size_hw, 3), np.uint8), 64, stretch).shape == (*fitted_hw, 3)


def test_fitting_is_exact_on_the_long_side_and_fitting_again_changes_nothing():
    for width in range(1, 700):
        height, long = fitted_hw(width * 0.7, width, 416)
        assert long == 416
        assert fitted_hw(height, long, 416) == (height, long)


def test_an_image_that_fits_is_not_copied():
    image = np.zeros((64, 48, 3), np.uint8)
    assert fit_long_side(image, 64) is image


@pytest.mark.parametrize("seed", range(20))
def test_what_the_output_does_not_show_need_not_be_drawn(seed, triangle_wave):
    rng = np.random.default_rng(seed)
    draw = AffineDraw.sample(rng, Augmentation(degrees=40 * (seed % 2), shear=9, scale=0.9, translate=0.9))
    tiles = [Sample(triangle_wave(64, 64 - n), labelled([])) for n in (0, 9, 20, 4)]
    mosaic = mosaic4(tiles, tuple(rng.integers(32, 96, 2).tolist()), 64)
    whole, part = affine(mosaic.drawn(), draw, (64, 64)), affine(mosaic, draw, (64, 64))
    reference = cv2.warpAffine(
        mosaic.drawn().image, draw.matrix((128, 128), (64, 64))[:2], (64, 64), borderValue=(FILL,) * 3
    )
    assert np.abs(part.image.astype(int) - whole.image).max() <= 1
    assert np.abs(part.image.astype(int) - reference).max() <= 1
