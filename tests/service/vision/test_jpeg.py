"""JPEG: the walk over the markers, what is harmless and what is damage, and files made to be costly."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.vision.image import ImageTooLarge, UndecodableImage, decode
from service.vision.jpeg import MAX_SCANS, JpegHeader, UnusualJpeg, decode_jpeg, read_jpeg_header


@pytest.fixture
def jpeg(files: dict[str, bytes]) -> bytes:
    return files["jpeg"]


def test_header_says_size_components_and_exif(files: dict[str, bytes]) -> None:
    header = read_jpeg_header(files["jpeg"])
    assert (header.width, header.height, header.components) == (64, 48, 3)
    assert header.exif.startswith(b"Exif\0\0MM")
    assert read_jpeg_header(files["jpeg-grey"]) == JpegHeader(64, 48, 1, b"")
    assert read_jpeg_header(files["jpeg-progressive"]) == JpegHeader(64, 48, 3, b"")
    assert read_jpeg_header(files["jpeg-cmyk"]).components == 4


def test_header_needs_nothing_after_the_first_scan_began(jpeg: bytes) -> None:
    assert read_jpeg_header(jpeg[: jpeg.index(b"\xff\xda") + 2]) == read_jpeg_header(jpeg)


def test_fill_bytes_garbage_and_restarts_between_segments_are_passed_over(jpeg: bytes) -> None:
    padded = jpeg[:2] + b"\xff\xff" + jpeg[2:20] + b"\0\x12\xff\xd0\xff\x00" + jpeg[20:]
    assert read_jpeg_header(padded) == read_jpeg_header(jpeg)


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10JFIF", b"\xff\xd8\xff\xd9"])
def test_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="no frame"):
        read_jpeg_header(data)


def test_extraneous_bytes_before_a_marker_are_harmless(jpeg: bytes) -> None:
    whole = decode(jpeg)
    for padded in (
        jpeg[:-2] + bytes(8) + b"\xff\xd9",
        jpeg[:20] + bytes(3) + jpeg[20:],
        jpeg[:-2] + b"\xff" * 8 + b"\xff\xd9",
        jpeg + b"trailing bytes, as a phone leaves its video",
    ):
        np.testing.assert_array_equal(decode(padded), whole)


def test_header_oddities_are_harmless(jpeg: bytes) -> None:
    whole = decode(jpeg)
    version = jpeg.index(b"JFIF") + 5
    np.testing.assert_array_equal(decode(jpeg[:version] + b"\x09" + jpeg[version + 1 :]), whole)


def test_any_subsampling_is_read(thumbnail: Image.Image, save: Callable[..., bytes]) -> None:
    """Luma 3×1 is no mode that libjpeg-turbo's simple interface has a name for. (The pixels here are not meant.)"""
    data = save(thumbnail, "JPEG", subsampling=0)
    frame = data.index(b"\xff\xc0")
    assert data[frame + 11] == 0x11
    odd = data[: frame + 11] + b"\x31" + data[frame + 12 :]
    with pytest.raises(UnusualJpeg):
        decode_jpeg(odd, read_jpeg_header(odd))
    assert decode(odd).shape == (48, 64, 3)


def test_one_lost_byte_at_the_end_is_truncation(jpeg: bytes) -> None:
    for missing in (1, 2, 3, 100):
        with pytest.raises(UndecodableImage, match="remature end"):
            decode(jpeg[:-missing])


def test_a_claim_of_65535_squared_is_too_large(jpeg: bytes) -> None:
    frame = jpeg.index(b"\xff\xc0")
    with pytest.raises(ImageTooLarge, match="65535 x 65535"):
        decode(jpeg[: frame + 5] + b"\xff" * 4 + jpeg[frame + 9 :])


def test_libjpeg_may_not_find_a_larger_picture_than_was_checked(jpeg: bytes) -> None:
    with pytest.raises(ValueError, match="buffer"):
        decode_jpeg(jpeg, JpegHeader(width=64, height=47, components=3, exif=b""))


def test_thousands_of_tiny_scans_are_refused(save: Callable[..., bytes]) -> None:
    data = save(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    scans = data.count(b"\xff\xda")
    assert read_jpeg_header(data[:-2] + scan * (MAX_SCANS - scans) + b"\xff\xd9").width == 64
    with pytest.raises(UndecodableImage, match="scans"):
        decode(data[:-2] + scan * (MAX_SCANS + 1 - scans) + b"\xff\xd9")


def test_scans_are_counted_in_the_image_not_in_what_follows_it(files: dict[str, bytes]) -> None:
    progressive = files["jpeg-progressive"]
    np.testing.assert_array_equal(decode(progressive + b"\xff\xda" * 1000), decode(progressive))
