"""What an image costs, on which images that is computed, and which are typical."""

import numpy as np
import pytest

from service.vision.detections import Detections
from training.data import CocoDataset
from training.evaluate import examine, score
from training.evaluate.curves import draw_curves
from training.evaluate.images import ImageErrors, find_errors
from training.evaluate.matches import Matches


def matches_of(images: int, each: int) -> Matches:
    """Every image has an object of one class; the first of its detections finds it in every other image."""
    image, rng = np.repeat(np.arange(images), each), np.random.default_rng(0)
    first = np.arange(images) * each
    correct = np.zeros((len(image), 10), np.bool_)
    correct[first[::2]] = True
    return Matches(
        image=image,
        classes=np.zeros_like(image),
        scores=rng.uniform(0, 1, len(image)),
        boxes_xyxy=np.zeros((len(image), 4), np.float32),
        correct=correct,
        ignored=np.zeros_like(correct),
        object_image=np.arange(images),
        object_classes=np.zeros(images, np.int64),
        object_boxes_xyxy=np.zeros((images, 4), np.float32),
        found_by=np.where(np.arange(images) % 2 == 0, first, -1),
    )


def test_the_cost_is_what_scoring_again_would_gain(dataset: CocoDataset, found: dict[int, Detections]):
    cost, before = examine(dataset, found.items()).errors.cost, score(dataset, found.items()).ap50
    for place, image in enumerate(dataset.images):
        wanted = ~image.crowd
        perfect = Detections(
            image.boxes_xyxy[wanted],
            np.ones(wanted.sum(), np.float32),
            image.classes[wanted].astype(np.int32),
        )
        gained = score(dataset, (found | {image.id: perfect}).items()).ap50 - before
        assert cost[place] == pytest.approx(gained, abs=1e-9)


def test_a_large_set_is_costed_where_the_errors_are():
    matches = matches_of(4200, 3)
    errors = find_errors(matches, draw_curves(matches, 1), 4200)
    known = ~np.isnan(errors.cost)
    wrong = errors.false_count + errors.missed_count
    assert known.sum() == 2000
    assert wrong[known].min() >= wrong[~known].max()
    assert known[errors.worst()[:100]].all()


def test_typical_images_go_evenly_from_the_best_to_the_worst_that_is_not_left_out():
    missed = np.arange(20)
    zeros = np.zeros(20)
    errors = ImageErrors(zeros > 0, zeros > 0, missed * 0, missed, np.full(20, 10), zeros)
    assert errors.typical(3, without=errors.worst()[:8]).tolist() == [2, 6, 10]
    assert errors.typical(3, without=np.arange(20)).tolist() == []
