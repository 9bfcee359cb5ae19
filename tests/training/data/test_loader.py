import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.config import Augmentation
from training.data import Batch, CocoDataset, DatasetError, Shard, TrainDataset, train_loader
from training.data.loader import EpochOrder, collate

SIZES = [(48, 32), (32, 48), (40, 40), (20, 60), (64, 64), (64, 16), (30, 30)]
OBJECTS = [[image, image % 3, 8, 8, 12, 8] for image in range(6)]  # the last image has none
COLOURS = np.eye(3) * 255
STILL = Augmentation(
    mosaic=0, mixup=0, translate=0, scale=0, hue=0, saturation=0, value=0, flip_horizontal=0
)  # of the affine step, the scale of 1 to 1.1 stays


@pytest.fixture
def coco(write_coco) -> CocoDataset:
    return CocoDataset.open(write_coco(SIZES, OBJECTS))


def build(coco: CocoDataset, augmentation: Augmentation | None = None, seed: int = 2) -> TrainDataset:
    return TrainDataset(coco, augmentation or Augmentation(stretch=(1, 1.6)), image_size=64, seed=seed)


def epoch_of(dataset: TrainDataset, epoch: int, workers: int = 0) -> list[Batch]:
    dataset.set_epoch(epoch)
    return list(train_loader(dataset, 3, workers=workers))


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def test_shapes_types_and_ranges(coco):
    batches = epoch_of(build(coco), 0)
    assert [len(batch.images) for batch in batches] == [3, 3, 1]  # nothing is dropped
    for batch in batches:
        assert batch.images.shape[1:] == (3, 64, 64)
        assert (batch.images.dtype, batch.targets.dtype) == (torch.uint8, torch.float32)
        image, kind, boxes = batch.targets[:, 0], batch.targets[:, 1], batch.targets[:, 2:]
        assert (image < len(batch.images)).all()
        assert (kind < 3).all()
        low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
        assert (low > -1e-6).all()
        assert (high < 1 + 1e-6).all()
        assert (boxes[:, 2:] > 0).all()


def test_workers_change_nothing_in_any_epoch(coco):
    alone, shared = build(coco), build(coco)
    loader = train_loader(shared, 3, workers=2)  # persistent: the same processes serve both epochs
    for epoch in (0, 5):
        shared.set_epoch(epoch)
        assert_same(epoch_of(alone, epoch), list(loader))


def test_a_run_can_go_on_at_any_epoch(coco):
    continuous, resumed = build(coco), build(coco)
    through = [epoch_of(continuous, epoch) for epoch in range(3)][-1]
    torch.manual_seed(99)
    np.random.default_rng(99).random()
    assert_same(through, epoch_of(resumed, 2))


def test_the_global_generator_is_left_alone(coco):
    before = torch.get_rng_state()
    epoch_of(build(coco), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_and_epochs_differ(coco):
    dataset = build(coco)
    first = dataset[0][0]
    dataset.set_epoch(1)
    assert not torch.equal(dataset[0][0], first)
    assert not torch.equal(build(coco, seed=3)[0][0], first)


def test_each_epoch_visits_every_image_once_in_its_own_order(coco):
    dataset, orders = build(coco), []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        orders.append(tuple(EpochOrder(dataset, Shard())))
        assert sorted(orders[-1]) == list(range(7))
    assert len(set(orders)) == 3


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_batches_of_all_processes_make_one(coco, world_size):
    dataset = build(coco)
    whole = list(EpochOrder(dataset, Shard()))
    parts = [list(EpochOrder(dataset, Shard(rank, world_size))) for rank in range(world_size)]
    assert {len(part) for part in parts} == {-(-7 // world_size)}
    together = [index for step in zip(*parts, strict=True) for index in step]
    assert together[:7] == whole
    assert together[7:] == whole[: len(together) - 7]


def test_more_processes_than_images_still_agree_on_the_steps(coco):
    parts = [list(EpochOrder(build(coco), Shard(rank, 10))) for rank in range(10)]
    assert {len(part) for part in parts} == {1}


@pytest.mark.parametrize("share", [0, 1])
def test_every_target_of_a_mosaic_lies_on_its_object(coco, share):
    recipe = Augmentation(mosaic9_share=share, mixup=0, scale=0.3, hue=0, saturation=0, value=0, flip_vertical=0.5)
    dataset, seen = build(coco, recipe), 0
    for epoch in range(4):
        dataset.set_epoch(epoch)
        for image, targets in (dataset[index] for index in range(7)):
            for kind, x, y, *_ in targets.tolist():
                pixel = image[:, int(y * 64), int(x * 64)].numpy()
                np.testing.assert_allclose(pixel, COLOURS[int(kind)], atol=80)
                seen += 1
    assert seen > 28


def test_mixup_shows_the_objects_of_two_mosaics(coco):
    alone, mixed = (build(coco, Augmentation(mixup=share, scale=0, flip_horizontal=0)) for share in (0, 1))
    pairs = [(alone[index][1], mixed[index][1]) for index in range(7)]
    assert all(torch.equal(both[: len(first)], first) for first, both in pairs)
    assert sum(len(both) for _, both in pairs) > 1.4 * sum(len(first) for first, _ in pairs)


def test_without_mosaic_the_image_stands_alone(coco):
    image, targets = build(coco, STILL)[4]
    np.testing.assert_array_equal(targets[:, 0], [1])
    cx, cy, w, h = targets[0, 1:].tolist()
    assert 12 / 64 <= w <= 12 / 64 * 1.1 + 1e-6
    assert image[1, int(cy * 64), int(cx * 64)] == 255
    assert h == pytest.approx(w * 8 / 12)


def test_an_image_without_objects_has_targets_without_rows(coco):
    image, targets = build(coco, STILL)[6]
    assert targets.shape == (0, 5)
    assert collate([(image, targets)]).targets.shape == (0, 6)


def test_rows_know_their_image():
    rows = [torch.full((count, 5), 7.0) for count in (2, 0, 1)]
    batch = collate([(torch.zeros(3, 8, 8, dtype=torch.uint8), row) for row in rows])
    assert batch.targets[:, 0].tolist() == [0, 0, 2]
    assert (batch.targets[:, 1:] == 7).all()


def test_flips_turn_the_picture(coco):
    plain, _ = build(coco, STILL)[4]
    both = replace(STILL, flip_horizontal=1, flip_vertical=1)
    turned, _ = build(coco, both)[4]
    assert torch.equal(turned, plain.flip(1, 2))


def test_real_photos_give_plausible_batches(shared_data):
    dataset = TrainDataset(
        CocoDataset.open(shared_data / "vehicles" / "val.json"),
        Augmentation(),
        image_size=416,
        seed=0,
        cache_bytes=20 << 20,
    )
    batch = next(iter(train_loader(dataset, 8)))
    assert batch.images.shape == (8, 3, 416, 416)
    assert 60 < batch.images.float().mean() < 190
    assert len(batch.targets) > 8
    assert batch.targets[:, 1].max() < 5


def test_batches_can_come_in_pinned_memory(coco):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    batch = next(iter(train_loader(build(coco), 3, pin_memory=True)))
    assert isinstance(batch, Batch)
    assert batch.images.is_pinned()
    assert batch.targets.is_pinned()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_breaks_is_named_in_one_line_wherever_it_is_read(coco, workers):
    dataset = TrainDataset(coco, Augmentation(), image_size=64, seed=2, cache_bytes=0)
    coco.images[3].path.write_bytes(b"broken")
    with pytest.raises(DatasetError) as raised:
        list(train_loader(dataset, 3, workers=workers))
    assert str(raised.value).startswith(f"{coco.images[3].path}: ")
    assert "\n" not in str(raised.value)


def test_a_process_that_fails_amid_an_epoch_does_not_wait_for_its_workers(write_coco):
    path = write_coco(SIZES, OBJECTS)
    program = f"""
from pathlib import Path
from training.config import Augmentation
from training.data import CocoDataset, TrainDataset, train_loader
dataset = TrainDataset(CocoDataset.open(Path({str(path)!r})), Augmentation(), image_size=64, seed=2)
batches = iter(train_loader(dataset, 3, workers=1))
next(batches)
raise ValueError("on purpose")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith("ValueError: on purpose\n")


def test_pixels_stay_together_in_memory(coco):
    batch = epoch_of(build(coco), 0)[0]
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_objects_with_outlines_are_pasted_into_other_images(write_coco):
    path = write_coco(SIZES, OBJECTS)
    table = json.loads(path.read_text())
    for row in table["annotations"]:
        x, y, w, h = row["bbox"]
        row["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    path.write_text(json.dumps(table))
    recipes = [replace(STILL, mosaic=1, paste_in=share) for share in (0, 1)]
    plain, pasted = (build(CocoDataset.open(path), recipe) for recipe in recipes)
    assert sum(len(pasted[index][1]) for index in range(7)) > sum(len(plain[index][1]) for index in range(7))


def test_paste_in_changes_nothing_in_a_set_without_outlines(coco):
    first, second = (build(coco, Augmentation(paste_in=share)) for share in (0, 1))
    assert_same(epoch_of(first, 0), epoch_of(second, 0))
