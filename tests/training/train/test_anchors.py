"""How anchors fit boxes: counted by hand, and better ones found."""

from dataclasses import replace

import numpy as np
import pytest

from training.__main__ import main
from training.data import CocoDataset
from training.train.anchors import box_sizes, flat, measure, suggest


def test_a_box_is_learnt_from_anchors_less_than_four_times_off():
    sizes = np.array([[10.0, 10.0], [39.0, 39.0], [40.0, 40.0], [10.0, 41.0]])
    fit = measure(sizes, np.array([[10.0, 10.0], [100.0, 100.0]]), 4.0)
    assert (fit.recall, fit.anchors_per_box) == (0.75, 1.0)


def test_sizes_are_those_of_the_scaled_image_without_crowds(squares: CocoDataset):
    crowd = replace(squares.images[0], crowd=np.array([True]))
    some = replace(squares, images=(crowd, *squares.images[1:]))
    sides = [image.boxes_xyxy[0, 2] - image.boxes_xyxy[0, 0] for image in squares.images[1:]]
    np.testing.assert_allclose(box_sizes(some, 128), 2 * np.stack([sides, sides], axis=1))


def test_suggested_anchors_fit_better_and_rise():
    sizes = np.exp(np.random.default_rng(1).normal((2.5, 3.0), 0.6, (500, 2)))
    found = suggest(sizes, levels=3, threshold=4.0)
    areas = flat(found).prod(axis=1)
    assert (len(found), len(found[0])) == (3, 6)
    assert (np.diff(areas) >= 0).all()
    assert measure(sizes, flat(found), 4.0).recall > 0.99 > measure(sizes, flat(found) * 4, 4.0).recall


def test_the_command_prints_both(data, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["anchors"])
    assert main(["anchors", str(data), "--size", "64"]) == 1  # eight boxes, nine anchors
    assert "8 boxes, fewer than there are anchors" in capsys.readouterr().err
