"""A large set with many classes is scored in the memory of one class at a time."""

import tracemalloc
from pathlib import Path

import numpy as np

from service.vision.detections import Detections
from training.data import CocoDataset, DatasetImage
from training.evaluate.score import score_and_match

IMAGES, CLASSES = 80, 40
BOX = np.array([[10, 10, 60, 60]], np.float32)


def squares() -> CocoDataset:
    """One object an image, of all classes in turn; there are no files."""
    images, objects = [], []
    for n in range(IMAGES):
        kind = np.array([n % CLASSES])
        images.append(DatasetImage(n, Path(f"{n}.jpg"), 90, 90, BOX, kind, np.zeros(1, np.bool_)))
        objects.append({"id": n + 1, "image_id": n, "category_id": n % CLASSES, "bbox": [10, 10, 50, 50]})
        objects[-1] |= {"area": 2500, "iscrowd": 0}
    ids = [{"id": n} for n in range(IMAGES)]
    truth = {"images": ids, "categories": ids[:CLASSES], "annotations": objects}
    return CocoDataset(tuple(map(str, range(CLASSES))), tuple(range(CLASSES)), tuple(images), truth)


def test_many_classes_take_the_memory_of_one():
    dataset = squares()
    rows = Detections(np.repeat(BOX, CLASSES, 0), np.linspace(0.9, 0.1, CLASSES), np.arange(CLASSES, dtype=np.int32))
    tracemalloc.start()
    evaluation, matches = score_and_match(dataset, [(n, rows) for n in range(IMAGES)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15 << 20
    assert evaluation.ar100 == 1
    assert (matches.classes == np.repeat(np.arange(CLASSES), IMAGES)).all()
    assert (matches.image[matches.found_by] == matches.object_image).all()
