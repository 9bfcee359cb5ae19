"""What is posted."""

import io

import numpy as np
import pytest
from PIL import Image

from service.benchmark.pictures import NoPictures, Pictures, generate_pictures, read_pictures


def test_generated_pictures_have_the_size_and_differ():
    pictures = generate_pictures((640, 360))
    assert len(set(pictures.files)) == len(pictures.files) == 8
    with Image.open(io.BytesIO(pictures.files[0])) as picture:
        assert picture.size == (640, 360)
    assert pictures.source == "8 generated, 640x360"


def test_generated_pictures_are_as_large_as_photographs():
    pictures = generate_pictures((1280, 720), 2)
    assert 1.0 < 8 * pictures.mean_bytes / (1280 * 720) < 2.0


def test_generated_pictures_are_the_same_each_time():
    assert generate_pictures((64, 48), 1).files == generate_pictures((64, 48), 1).files


@pytest.mark.parametrize("size_wh", [(16, 16), (16, 400), (401, 17)])
def test_any_size_can_be_generated(size_wh):
    with Image.open(io.BytesIO(generate_pictures(size_wh, 1).files[0])) as picture:
        assert picture.size == size_wh
        assert np.asarray(picture).std() > 5


def test_files_and_folders_are_read_in_order(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.JPG", "a.png", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    (tmp_path / "z.bin").write_bytes(b"z")
    pictures = read_pictures([tmp_path / "z.bin", folder])
    assert pictures.files == [b"z", b"a.png", b"b.JPG"]
    assert pictures.left_out == 0


def test_what_holds_no_picture_is_told(tmp_path):
    with pytest.raises(NoPictures, match="no picture in this folder"):
        read_pictures([tmp_path])
    (tmp_path / "a.jpg").touch()
    with pytest.raises(NoPictures, match=r"a\.jpg is empty"):
        read_pictures([tmp_path])
    with pytest.raises(OSError, match="nowhere"):
        read_pictures([tmp_path / "nowhere.jpg"])


def test_too_many_are_left_out_and_counted(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(bytes(100))
    pictures = read_pictures([tmp_path], most_bytes=250)
    assert (len(pictures.files), pictures.left_out) == (2, 1)


def test_they_are_written_one_after_the_other(tmp_path):
    pictures = Pictures([b"\xff\xd8jpeg", b"\x89PNG.", b"?"], "three")
    assert pictures.write(tmp_path / "all") == [(0, 6, "image/jpeg"), (6, 5, "image/png"), (11, 1, "image/unknown")]
    assert (tmp_path / "all").read_bytes() == b"\xff\xd8jpeg\x89PNG.?"
