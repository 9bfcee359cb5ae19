import json

import numpy as np
import pytest
import torch

from training.data import CocoDataset, Shard
from training.data.rectangles import Rectangle, RectangleDataset, rectangle_loader, rectangles

SIZES = [(40, 20), (20, 40), (32, 16), (90, 90), (30, 30)]
OBJECTS = [[image, image % 3, 8, 8, 8, 6] for image in range(4)]


@pytest.mark.parametrize("case", range(4))
def test_golden(golden, case):
    meta = json.loads((golden / "rect_batches.json").read_text())[case]
    plan = rectangles(meta["wh"], meta["batch"], image_size=meta["img"], stride=meta["stride"], pad=meta["pad"])
    assert [index for batch in plan for index in batch.indices] == meta["order"]
    assert [list(batch.shape_hw) for batch in plan] == meta["batch_shapes_hw"]


def test_every_box_lies_on_its_object(write_coco):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    plan = rectangles(SIZES, 2, image_size=64, stride=32)
    seen = 0
    for batch, rectangle in zip(RectangleDataset(dataset, plan, image_size=64), plan, strict=True):
        assert batch.images.shape == (len(rectangle.indices), 3, *rectangle.shape_hw)
        for image, kind, x, y, *_ in batch.targets.tolist():
            height, width = rectangle.shape_hw
            pixel = batch.images[int(image), :, int(y * height), int(x * width)].numpy()
            np.testing.assert_allclose(pixel, np.eye(3)[int(kind)] * 255, atol=30)
            seen += 1
    assert seen == len(OBJECTS)


def test_a_batch_without_objects_has_targets_without_rows(write_coco):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    batch = RectangleDataset(dataset, [Rectangle((4,), (64, 64))], image_size=64)[0]
    assert batch.targets.shape == (0, 6)


def test_images_are_no_larger_than_the_training_size(write_coco):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    batch = RectangleDataset(dataset, [Rectangle((3,), (96, 96))], image_size=64)[0]
    assert (batch.images[0, :, :16] == 114).all()
    assert (batch.images[0, :, 17:79, 17:79] != 114).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_share_the_batches(write_coco, workers):
    dataset = CocoDataset.open(write_coco(SIZES, OBJECTS))
    whole = RectangleDataset(dataset, rectangles(SIZES, 2, image_size=64, stride=32), image_size=64)
    parts = [list(rectangle_loader(whole, workers=workers, shard=Shard(rank, 2))) for rank in range(2)]
    assert [len(part) for part in parts] == [2, 1]
    for index, batch in enumerate((parts[0][0], parts[1][0], parts[0][1])):
        assert torch.equal(batch.images, whole[index].images)


def test_no_images_are_no_batches():
    assert rectangles([], 4, image_size=64, stride=32) == []
