import json
import logging

import numpy as np
import pytest

from training.data.coco import CocoDataset, DatasetError
from training.data.source import SourceImages, plan_cache

SIZES = [(40, 20), (16, 32), (64, 64)]
OBJECTS = [[0, 0, 10, 5, 20, 10], [2, 1, 0, 0, 32, 16], [2, 2, 32, 32, 32, 32]]
ALL = 1 << 30


def test_the_plan_holds_all_encoded_before_any_decoded():
    assert plan_cache([10, 10, 10], [2, 2, 2], 5) == (0, 2)
    assert plan_cache([10, 10, 10], [2, 2, 2], 6) == (0, 3)
    assert plan_cache([10, 10, 10], [2, 2, 2], 23) == (2, 3)
    assert plan_cache([10, 10, 10], [2, 2, 2], 30) == (3, 3)
    assert plan_cache([10, 10, 10], [2, 2, 2], 0) == (0, 0)


@pytest.mark.parametrize("decoded", [(1, 9, 1), (3, 1, 2), (5, 5, 5)])
@pytest.mark.parametrize("budget", range(0, 16, 2))
def test_the_plan_stays_within_the_budget(decoded, budget):
    encoded = (2, 2, 2)
    first, held = plan_cache(decoded, encoded, budget)
    assert sum(decoded[:first]) + sum(encoded[first:held]) <= budget


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_objects_lie_where_they_are_painted(write_coco, suffix):
    source = SourceImages(CocoDataset.open(write_coco(SIZES, OBJECTS, suffix)), 80, cache_bytes=ALL)
    sample = source.load(0, stretch=0.5)  # 40×20 becomes 20×20, then 80×80
    assert sample.image.shape == (80, 80, 3)
    np.testing.assert_array_equal(sample.labels.boxes, [[20, 20, 60, 60]])
    assert abs(sample.image[40, 40].astype(int) - (255, 0, 0)).max() < 30
    assert sample.image[5, 5].max() < 30


@pytest.mark.parametrize("index", range(3))
def test_the_budget_changes_nothing_but_speed(write_coco, index):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    files = sum(image.path.stat().st_size for image in dataset.images)
    first, *others = (SourceImages(dataset, 64, cache_bytes=budget).load(index) for budget in (ALL, files, 0))
    for other in others:
        np.testing.assert_array_equal(other.image, first.image)
        np.testing.assert_array_equal(other.labels.boxes, first.labels.boxes)


def test_what_is_held_how_is_logged(write_coco, caplog):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    with caplog.at_level(logging.INFO):
        SourceImages(dataset, 64, cache_bytes=sum(image.path.stat().st_size for image in dataset.images))
    assert "0 in memory decoded, 3 encoded, 0 on disk decoded, 0 read from disk" in caplog.text


def test_crowds_are_not_trained_on(write_coco):
    path = write_coco(SIZES, OBJECTS)
    table = json.loads(path.read_text())
    table["annotations"][1] |= {"iscrowd": 1, "segmentation": {"counts": [1], "size": [64, 64]}}
    table["annotations"][2] |= {"segmentation": [[32, 32, 64, 32, 32, 64]]}
    path.write_text(json.dumps(table))
    labels = SourceImages(CocoDataset.open(path), 64, cache_bytes=ALL).load(2).labels
    np.testing.assert_array_equal(labels.classes, [2])
    np.testing.assert_array_equal(labels.outlines[0], [[32, 32], [64, 32], [32, 64]])


def test_an_image_of_another_size_than_annotated_is_named(write_coco):
    path = write_coco(SIZES, OBJECTS)
    path.write_text(path.read_text().replace('"width": 40, "height": 20', '"width": 20, "height": 40'))
    with pytest.raises(DatasetError, match=r"0\.png is 40x20 pixels upright, its annotations say 20x40"):
        SourceImages(CocoDataset.open(path), 64, cache_bytes=ALL)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_an_undecodable_image_is_named(write_coco, content):
    path = write_coco(SIZES, OBJECTS)
    (path.parent / "images" / "1.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"1\.png: "):
        SourceImages(CocoDataset.open(path), 64, cache_bytes=ALL)


def test_an_image_that_vanished_is_named(write_coco):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    source = SourceImages(dataset, 64, cache_bytes=0)
    dataset.images[1].path.unlink()
    with pytest.raises(DatasetError, match=r"cannot read .*1\.png: No such file"):
        source.load(1)
