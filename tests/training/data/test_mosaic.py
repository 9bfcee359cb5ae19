import json

import numpy as np
import pytest

from training.data.geometry import AffineDraw, affine
from training.data.mosaic import centred, mixup, mosaic4, mosaic9
from training.data.sample import FILL, Labels, Sample


def flat(size_hw: tuple[int, int], value: int) -> Sample:
    """A tile of one value, its only object the whole of it, with the value as class."""
    box = np.array([[0, 0, size_hw[1], size_hw[0]]], np.float32)
    return Sample(np.full((*size_hw, 3), value, np.uint8), Labels(box, np.array([value])))


def golden_tile(meta: dict, arrays: np.lib.npyio.NpzFile, index: int) -> Sample:
    (height, width), rows = meta["image_hw"][index], arrays[f"src_labels_{index}"]
    centre, half = rows[:, 1:3], rows[:, 3:] / 2
    boxes = np.concatenate((centre - half, centre + half), axis=1) * np.array((width, height, width, height))
    image = np.full((height, width, 3), 20 + 25 * index, np.uint8)
    return Sample(image, Labels(boxes.astype(np.float32), rows[:, 0].astype(np.int64)))


def assert_golden(sample: Sample, rows: np.ndarray, step: int, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(sample.labels.classes, rows[:, 0])
    np.testing.assert_allclose(sample.labels.boxes, rows[:, 1:], atol=1e-3)
    assert np.abs(sample.image[::step, ::step, 0].astype(int) - pixels).max() <= 2


@pytest.mark.parametrize("case", range(6))
def test_golden(golden, case):
    meta = json.loads((golden / "mosaic.json").read_text())
    name, size = meta["cases"][case]["name"], meta["img_size"]
    y, x, *transform = (value for _, _, value in meta["cases"][case]["draws"])
    with np.load(golden / "mosaic.npz") as file:
        tiles = [golden_tile(meta, file, i) for i in (meta["cases"][case]["index"], *meta["cases"][case]["others"])]
        canvas = (mosaic4 if len(tiles) == 4 else mosaic9)(tiles, (int(x), int(y)), size)
        assert_golden(canvas.drawn(), file[f"{name}_canvas_labels"], 16, file[f"{name}_canvas_ds"])
        moved = affine(canvas, AffineDraw(*transform), (size, size))
        assert_golden(moved, file[f"{name}_labels"], 8, file[f"{name}_ds"])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [4, 9])
def test_every_box_covers_exactly_its_tile(count, seed):
    rng = np.random.default_rng(seed)
    sides = rng.integers(20, 65, (count, 2))
    sides[np.arange(count), rng.integers(0, 2, count)] = 64
    tiles = [flat((int(h), int(w)), 120 + value) for value, (h, w) in enumerate(sides)]
    corner = tuple(rng.integers(32, 64, 2).tolist())
    joined = (mosaic4 if count == 4 else mosaic9)(tiles, corner, 64).drawn()
    assert joined.image.shape == (128, 128, 3)
    for (x1, y1, x2, y2), value in zip(joined.labels.boxes.astype(int), joined.labels.classes, strict=True):
        assert (joined.image[y1:y2, x1:x2] == value).all()
        assert (joined.image == value).sum() == 3 * (y2 - y1) * (x2 - x1)


def test_four_tiles_touch_the_centre_in_reading_order():
    joined = mosaic4([flat((64, 64), value) for value in (1, 2, 3, 4)], (50, 70), 64).drawn()
    assert [joined.image[y, x, 0] for y in (69, 70) for x in (49, 50)] == [1, 2, 3, 4]


def test_a_lone_image_is_centred_on_grey():
    alone = centred(flat((64, 33), 9), 64).drawn()
    np.testing.assert_array_equal(alone.labels.boxes, [[15, 0, 48, 64]])
    np.testing.assert_array_equal(alone.image[:, [14, 15, 47, 48], 0], [[FILL, 9, 9, FILL]] * 64)


def test_mixup_keeps_every_object_and_weighs_pixels():
    blend = mixup(flat((8, 8), 100), flat((8, 8), 200), 0.25)
    np.testing.assert_array_equal(blend.image, 175)
    np.testing.assert_array_equal(blend.labels.classes, [100, 200])
    np.testing.assert_array_equal(blend.labels.boxes, [[0, 0, 8, 8]] * 2)
