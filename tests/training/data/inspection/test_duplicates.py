import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.inspection.duplicates import find_duplicates
from training.data.inspection.pictures import Pictures, difference_hashes

BOXES = [(n, 1 + n % 2, [10, 10, 20, 20]) for n in range(3)]


def by_kind(inspection) -> dict[str, list[tuple[str, str]]]:
    pairs = {}
    for finding in inspection.findings:
        if finding.other:
            pairs.setdefault(finding.kind, []).append((finding.image.name, finding.other.name))
    return pairs


def test_the_same_file_in_two_parts_is_a_leak(write_part, found):
    write_part("train", [1, 2], BOXES[:2])
    inspection = found(write_part("val", [3, 2], BOXES[:2]))
    assert by_kind(inspection) == {"leak": [("val1.png", "train1.png")]}
    assert inspection.errors == 1


def test_the_same_file_in_one_part_is_no_leak(write_part, found):
    inspection = found(write_part("part", [1, 2, 1], BOXES))
    assert by_kind(inspection) == {"image twice": [("part2.png", "part0.png")]}
    assert inspection.errors == 0


@pytest.mark.parametrize("change", ["jpeg", "brighter", "smaller"])
def test_the_same_picture_in_another_file_is_a_near_leak(write_part, found, change):
    write_part("train", [1, 2], BOXES[:2])
    folder = write_part("val", [3, 4], BOXES[:2])
    picture = cv2.imread(str(folder / "images" / "train1.png"))
    if change == "brighter":
        picture = cv2.add(picture, np.full_like(picture, 2))
    if change == "smaller":
        picture = cv2.resize(cv2.resize(picture, (40, 30)), (80, 60))
    path = folder / "images" / "val0.png"
    cv2.imwrite(str(path.with_suffix(".jpg") if change == "jpeg" else path), picture)
    if change == "jpeg":
        shutil.move(path.with_suffix(".jpg"), path)
    assert by_kind(found(folder)) == {"near leak": [("val0.png", "train1.png")]}


def test_pictures_with_little_in_them_are_not_taken_for_one(write_part, found):
    folder = write_part("part", [1, 2, 3], BOXES)
    for place, level in ((0, 60), (1, 120), (2, 200)):
        cv2.imwrite(str(folder / "images" / f"part{place}.png"), np.full((60, 80, 3), level, np.uint8))
    assert by_kind(found(folder)) == {}


def test_close_hashes_are_found_wherever_their_bits_differ():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (400, 2), np.uint64)
    for row in range(200):
        bits = rng.choice(128, 6, replace=False)
        hashes[200 + row] = hashes[row]
        for bit in bits:
            hashes[200 + row, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    names = tuple(Path(str(row)) for row in range(400))
    digests = tuple(name.name.encode() for name in names)
    pictures = Pictures(names, ("part",) * 400, digests, hashes, np.zeros((400, 256), np.uint8))
    found = {(int(finding.image.name), int(finding.other.name)) for finding in find_duplicates(pictures)}
    assert found == {(200 + row, row) for row in range(200)}


def test_many_pictures_of_one_camera_take_little_memory():
    hashes = np.random.default_rng(0).integers(0, 2**64, (6000, 2), np.uint64)
    hashes[:, 0] &= ~np.uint64(0xFFFF)  # a chunk that all share
    names = tuple(Path(str(row)) for row in range(6000))
    digests = tuple(name.name.encode() for name in names)
    pictures = Pictures(names, ("part",) * 6000, digests, hashes, np.zeros((6000, 256), np.uint8))
    tracemalloc.start()
    assert find_duplicates(pictures) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


def test_an_image_of_another_part_comes_before_a_more_alike_one_of_the_same():
    hashes = np.array([[0b11, 0], [1, 0], [0, 0]], np.uint64)
    pictures = Pictures(
        tuple(map(Path, "abc")), ("val", "train", "train"), (b"a", b"b", b"c"), hashes, np.zeros((3, 256), np.uint8)
    )
    found = {(finding.kind, finding.image.name, finding.other.name) for finding in find_duplicates(pictures)}
    assert found == {("near leak", "b", "a"), ("near leak", "c", "a")}


def test_a_hash_tells_left_from_right_and_top_from_bottom():
    slope = np.tile(np.arange(0, 200, 2, dtype=np.uint8), (100, 1))
    hashes = [difference_hashes(np.ascontiguousarray(turned)) for turned in (slope, slope[:, ::-1], slope.T)]
    assert hashes == [(0, 0), (2**64 - 1, 0), (0, 0)]
    assert difference_hashes(np.ascontiguousarray(slope.T[::-1])) == (0, 2**64 - 1)
