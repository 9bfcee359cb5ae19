import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.data.coco import DatasetError
from training.data.parts import open_part, read_parts
from training.data.yolo import label_path, yolo_table

BOX, POLYGON = "0 0.5 0.5 0.5 0.25", "1 0.1 0.2 0.6 0.2 0.1 0.8"


@pytest.fixture
def write_yolo(tmp_path):
    """Write images of 40×20 with the label files given by name (None: no file); returns the set's folder."""

    def write(part: str = "", **labels: str | None) -> Path:
        for name, text in labels.items():
            image = tmp_path / "images" / part / f"{name}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(image), np.zeros((20, 40, 3), np.uint8))
            if text is not None:
                label_path(image).parent.mkdir(parents=True, exist_ok=True)
                label_path(image).write_text(text)
        (tmp_path / "classes.txt").write_text("cat\ndog\n")
        return tmp_path

    return write


def test_boxes_and_polygons_become_pixels(write_yolo):
    dataset = open_part(write_yolo(a=f"{BOX}\n{POLYGON}\n", b="", c=None))
    assert dataset.class_names == ("cat", "dog")
    assert [len(image.classes) for image in dataset.images] == [2, 0, 0]
    first = dataset.images[0]
    np.testing.assert_allclose(first.boxes_xyxy, [[10, 7.5, 30, 12.5], [4, 4, 24, 16]])
    np.testing.assert_array_equal(first.classes, [0, 1])
    assert first.outlines[0] is None
    np.testing.assert_allclose(first.outlines[1], [[4, 4], [24, 4], [4, 16]])


def test_boxes_are_cut_at_the_edge_and_dropped_outside(write_yolo, caplog):
    image = open_part(write_yolo(a="0 1.0 0.5 0.5 0.5\n0 1.5 0.5 0.2 0.2\n1 nan 0.1 0.2 0.3")).images[0]
    np.testing.assert_allclose(image.boxes_xyxy, [[30, 5, 40, 15]])
    assert "dropped 2 of 3 boxes" in caplog.text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.5 0.5 0.5", "4 numbers are neither a box"),
        ("0 0.5 0.5 0.5 0.1 0.2", "6 numbers are neither"),
        ("2 0.5 0.5 0.1 0.1", "class 2 is not one of 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", r"class 0\.5 is not one"),
        ("cat 0.5 0.5 0.1 0.1", "could not convert"),
    ],
)
def test_a_row_that_is_not_understood_is_named(write_yolo, row, reason):
    with pytest.raises(DatasetError, match=rf"a\.txt, line 2: .*{reason}"):
        open_part(write_yolo(a=f"{BOX}\n{row}"))


def test_every_fault_is_listed_and_the_rest_is_read(write_yolo):
    folder = write_yolo(a=f"9 1 2\n{BOX}", b="x")
    (folder / "images" / "c.png").write_bytes(b"no image")
    part = read_parts(folder)["train"]
    assert len(part.faults) == 3
    assert (len(part.table["images"]), len(part.table["annotations"])) == (2, 1)
    with pytest.raises(DatasetError, match=r"\(and 2 more\)"):
        part.dataset()


def test_labels_lie_beside_the_last_folder_of_images():
    assert label_path(Path("/images/set/images/train/a.b.jpg")) == Path("/images/set/labels/train/a.b.txt")
    assert label_path(Path("/flat/a.jpg")) == Path("/flat/a.txt")


def test_parts_are_folders_of_images(write_yolo):
    write_yolo("train", a=BOX)
    folder = write_yolo("val", b=POLYGON, c=BOX)
    assert {name: len(part.dataset()) for name, part in read_parts(folder).items()} == {"train": 1, "val": 2}
    with pytest.raises(DatasetError, match="has no part 'test'"):
        open_part(folder, "test")


@pytest.mark.parametrize(
    "names", ["names: [cat, 'dog']", "names:\n  - cat\n  - dog", "nc: 2\nnames:\n  0: cat\n  1: dog"]
)
def test_a_listing_names_parts_and_classes(write_yolo, names):
    write_yolo("train", a=BOX)
    folder = write_yolo("val", b=POLYGON, c=BOX)
    (folder / "some.txt").write_text("./images/val/c.png\n")
    (folder / "data.yaml").write_text(f"# a set\npath: .  # here\ntrain: images/train\nval: some.txt\n{names}\n")
    parts = read_parts(folder / "data.yaml")
    assert {name: len(part.dataset()) for name, part in parts.items()} == {"train": 1, "val": 1}
    assert parts["val"].dataset().class_names == ("cat", "dog")


def test_of_a_jpeg_only_the_header_is_read(tmp_path):
    path, picture = tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    cv2.imwrite(str(path), picture)
    os.truncate(path, 1 << 42)  # more than memory; the file has a hole where nothing was written
    table, faults = yolo_table([path], ["cat"])
    assert faults == []
    assert (table["images"][0]["width"], table["images"][0]["height"]) == (400, 300)


def test_a_jpeg_with_a_long_header_and_one_that_is_cut_off(tmp_path):
    long, cut = tmp_path / "long.jpg", tmp_path / "cut.jpg"
    data = cv2.imencode(".jpg", np.zeros((30, 40, 3), np.uint8))[1].tobytes()
    comments = (b"\xff\xfe\xff\xff" + bytes(65533)) * 3
    long.write_bytes(data[:2] + comments + data[2:])
    cut.write_bytes(data[:20])
    table, faults = yolo_table([long, cut], ["cat"])
    assert [(image["width"], image["height"]) for image in table["images"]] == [(40, 30)]
    assert [fault.split(":")[0] for fault in faults] == [str(cut)]


def test_files_that_begin_with_the_mark_of_windows_are_read(write_yolo):
    folder = write_yolo(a=f"\ufeff{BOX}")
    (folder / "classes.txt").write_text("\ufeffcat\ndog\n")
    assert open_part(folder).class_names == ("cat", "dog")
    (folder / "data.yaml").write_text("\ufefftrain: list.txt\nnames: [cat, dog]\n")
    (folder / "list.txt").write_text("\ufeffimages/a.png\n")
    assert [len(image.classes) for image in open_part(folder).images] == [1]


def test_class_names_that_are_no_text_are_refused(write_yolo):
    folder = write_yolo(a=BOX)
    (folder / "classes.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DatasetError, match=r"classes\.txt is neither"):
        open_part(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("train: images", "has 0 names"),
        ("train: images\nnc: 3\nnames: [a, b]", "has 2 names for 3 classes"),
        ("names: [a]", "names no part"),
        ("train: images\nnames: {0: a}", "is not understood"),
        ("train: images\n  odd line\nnames: [a]", "line 2 is not understood: 'odd line'"),
        ("train: images\nnames:\n  0: a\n  2: b", "do not run from 0"),
        ("train: absent\nnames: [a]", "neither a folder of images nor a text file"),
    ],
)
def test_a_listing_that_is_not_understood_is_refused(write_yolo, text, reason):
    folder = write_yolo(a=BOX)
    (folder / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=reason):
        read_parts(folder)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="holds none of"):
        read_parts(tmp_path)
    with pytest.raises(DatasetError, match="neither a COCO file"):
        read_parts(tmp_path / "absent")


def test_coco_files_are_parts_too(write_coco):
    path = write_coco([(40, 30)], [[0, 2, 4, 6, 10, 8]])
    assert list(read_parts(path.parent)) == ["train"]
    assert open_part(path).class_names == open_part(path.parent).class_names == ("red", "green", "blue")


def test_only_the_part_wanted_is_read(write_yolo):
    write_yolo("train", a=BOX)
    folder = write_yolo("val", b="9 nonsense")
    assert list(read_parts(folder, wanted="train")) == ["train"]
    assert len(open_part(folder, "train")) == 1
