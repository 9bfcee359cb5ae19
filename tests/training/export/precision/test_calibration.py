"""Calibration images are the service's own: each in the served shape that fits it, chosen by seed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.vision.letterbox import Letterbox
from service.vision.spec import generate_image
from training.data import CocoDataset, DatasetError, DatasetImage, read_pixels
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


def test_pictures_of_every_kind_are_calibrated_on(tmp_path: Path) -> None:
    """Grey, CMYK, transparent, 16 bits, turned by EXIF, a line: each as the service would see it."""
    grain = Image.fromarray(generate_image(0, (48, 80)))
    turned = Image.Exif()
    turned[0x0112] = 6
    grain.convert("L").save(tmp_path / "grey.jpg")
    grain.convert("CMYK").save(tmp_path / "cmyk.jpg")
    grain.convert("RGBA").save(tmp_path / "alpha.png")
    grain.convert("P").save(tmp_path / "palette.png")
    Image.fromarray(np.arange(48 * 80, dtype=np.uint16).reshape(48, 80) * 16).save(tmp_path / "deep.png")
    grain.save(tmp_path / "turned.jpg", exif=turned)
    grain.resize((500, 1)).save(tmp_path / "line.png")
    sizes = {"turned.jpg": (80, 48), "line.png": (1, 500)}
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    images = tuple(
        DatasetImage(number, path, size_hw[1], size_hw[0], *empty)
        for number, path in enumerate(sorted(tmp_path.iterdir()))
        for size_hw in [sizes.get(path.name, (48, 80))]
    )
    laid = list(Calibration(images, SHAPES))
    assert len(laid) == 7
    assert {image.shape for image in laid} == {(1, 64, 96, 3), (1, 96, 64, 3)}
    assert all(image.dtype == np.uint8 and len(np.unique(image)) > 2 for image in laid)
