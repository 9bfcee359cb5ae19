import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data import CocoDataset
from training.data.disk import DiskCache
from training.data.source import SourceImages

SIZES = [(40, 20), (16, 32), (64, 64), (30, 60)]
OBJECTS = [[0, 0, 10, 5, 20, 10], [2, 1, 0, 0, 32, 16]]
ALL = 1 << 30


@pytest.fixture
def coco(write_coco) -> CocoDataset:
    return CocoDataset.open(write_coco(SIZES, OBJECTS))


def source(coco: CocoDataset, folder: Path, budget: int = ALL, size: int = 64, memory: int = 0) -> SourceImages:
    return SourceImages(coco, size, cache_bytes=memory, disk=DiskCache(folder, budget))


def load_all(coco: CocoDataset, folder: Path) -> int:
    return sum(int(source(coco, folder).load(index).image.sum()) for index in range(len(coco)))


def test_the_second_reader_needs_no_image(coco, tmp_path):
    expected = SourceImages(coco, 64, cache_bytes=ALL)
    folder = tmp_path / "cache"
    load_all(coco, folder)
    second = source(coco, folder)
    for image in coco.images:
        stamp = image.path.stat()
        image.path.write_bytes(b"x" * stamp.st_size)
    for index in range(len(coco)):
        np.testing.assert_array_equal(second.load(index).image, expected.load(index).image)
    assert len(list(folder.iterdir())) == len(coco)


def test_a_changed_image_is_decoded_again(coco, tmp_path):
    first = source(coco, tmp_path / "cache").load(2).image.copy()
    cv2.imwrite(str(coco.images[2].path), np.full((64, 64, 3), 9, np.uint8))
    os.utime(coco.images[2].path, ns=(1, 1))
    second = source(coco, tmp_path / "cache").load(2).image
    assert (second == 9).all()
    assert not (first == 9).all()


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_file_is_written_again(coco, tmp_path, damage):
    folder = tmp_path / "cache"
    expected = load_all(coco, folder)
    for path in folder.iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert load_all(coco, folder) == expected
    assert all(np.load(path).ndim == 3 for path in folder.iterdir())


@pytest.mark.parametrize("budget", [0, 9000, 20_000])
def test_the_folder_stays_within_its_budget(coco, tmp_path, budget):
    folder = tmp_path / "cache"
    source(coco, folder, size=96).load(2)
    images = source(coco, folder, budget)
    assert [images.load(index).image.max() for index in range(4)] == [255, 0, 255, 0]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= budget


def test_images_of_other_runs_stay_while_there_is_room(coco, tmp_path):
    source(coco, tmp_path, size=96).load(2)
    source(coco, tmp_path, size=64).load(2)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_several_processes_fill_one_folder(coco, tmp_path):
    folder = tmp_path / "cache"
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes:
        sums = [job.result(60) for job in [processes.submit(load_all, coco, folder) for _ in range(6)]]
    assert len(set(sums)) == 1
    assert sorted(path.suffix for path in folder.iterdir()) == [".npy"] * len(coco)


def test_memory_comes_first(coco, tmp_path):
    folder = tmp_path / "cache"
    images = source(coco, folder, memory=64 * 32 * 3)
    for index in range(4):
        images.load(index)
    assert len(list(folder.iterdir())) == 3


def test_a_disk_that_takes_nothing_is_said_once(coco, tmp_path, caplog):
    folder = tmp_path / "cache"
    images = source(coco, folder)
    folder.rmdir()
    with caplog.at_level(logging.WARNING):
        assert [images.load(index).image.shape[2] for index in range(4)] == [3] * 4
    assert caplog.text.count("the disk cache takes no more images") == 1
