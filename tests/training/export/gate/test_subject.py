"""Which few pictures stand for a set, and what is asked of each input shape."""

from dataclasses import replace

import numpy as np

from service.vision.detections import Detections
from training.data import CocoDataset
from training.export.gate.subject import PICTURES, Subject, choose_pictures

NONE = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))
ONE = Detections(np.ones((1, 4), np.float32), np.array([0.5], np.float32), np.array([0], np.int32))


def large(seen_set: CocoDataset, count: int) -> CocoDataset:
    return replace(seen_set, images=tuple(replace(seen_set.images[0], id=index) for index in range(count)))


def test_pictures_in_which_something_is_are_taken_first(seen_set: CocoDataset) -> None:
    found = {index: ONE if index in (70, 90) else NONE for index in range(100)}
    chosen = [image.id for image in choose_pictures(large(seen_set, 100), found)]
    assert chosen[:2] == [70, 90]
    assert len(set(chosen)) == PICTURES


def test_they_come_from_all_over_the_set(seen_set: CocoDataset) -> None:
    chosen = [image.id for image in choose_pictures(large(seen_set, 160), dict.fromkeys(range(160), ONE))]
    assert chosen == list(range(0, 160, 10))


def test_a_small_set_is_taken_whole(seen_set: CocoDataset, subject: Subject) -> None:
    assert {image.id for image in subject.pictures} == {image.id for image in seen_set.images}


def test_each_shape_is_filled_and_laid_pictures_fit_one(subject: Subject) -> None:
    assert [each.shape_hw for each in subject.stretched] == [(64, 96), (96, 64)]
    assert all(pixels.shape == (*each.shape_hw, 3) for each in subject.stretched for pixels in each.pixels.values())
    assert {image.shape for image in subject.laid()} <= {(1, 64, 96, 3), (1, 96, 64, 3)}
