"""Counting frames: as many as Pillow finds, none behind the limit, and hostile files refused for their skeleton."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.vision import frames as module
from service.vision.frames import MAX_BLOCKS, count_frames
from service.vision.image import ImageTooLarge, UndecodableImage, decode, read_header

LIMIT = 2_000_000
ANIMATED = ["GIF", "PNG", "TIFF", "WEBP"]
GIF_HEADER = b"GIF89a" + struct.pack("<HH", 4, 4) + bytes(3)
GIF_FRAME = b"," + struct.pack("<HHHH", 0, 0, 4, 4) + b"\0" + b"\x02\x03\x84\x8f\x05\0"
WEBP_STILL = b"VP8X" + struct.pack("<I", 10) + bytes(10)
PNG_HEADER = b"\x89PNG\r\n\x1a\n"


def animation(save: Callable[..., bytes], kind: str, count: int) -> bytes:
    """So many frames, no two alike, since writers join those that are."""
    grey = [Image.new("RGB", (8, 6), (index, 2 * index, 3 * index)) for index in range(count)]
    return save(grey[0], kind, save_all=True, append_images=grey[1:], lossless=True)


def webp(body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def png_chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def tiff_chain(count: int, *, order: str = "<", big: bool = False, last: int = 0) -> bytes:
    """Directories of one tag each, one after the other; the last one points to `last`."""
    offset, entries, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    data = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    data += struct.pack(order + "HH", 8, 0) if big else b""
    data += struct.pack(order + offset, len(data) + struct.calcsize(order + offset))
    for index in range(count):
        end = len(data) + struct.calcsize(order + entries) + entry + struct.calcsize(order + offset)
        data += struct.pack(order + entries, 1) + bytes(entry)
        data += struct.pack(order + offset, end if index + 1 < count else last)
    return data


@pytest.mark.parametrize("kind", ANIMATED)
@pytest.mark.parametrize("count", [1, 2, 3, 17])
def test_there_are_as_many_frames_as_were_written(save: Callable[..., bytes], kind: str, count: int) -> None:
    data = animation(save, kind, count)
    assert count_frames(data, kind, limit=100) == count
    read_header(data, max_pixels=LIMIT, max_frames=count)
    if count > 1:
        for take in (decode, read_header):
            with pytest.raises(ImageTooLarge, match=f"more than {count - 1} frames"):
                take(data, max_pixels=LIMIT, max_frames=count - 1)


@pytest.mark.parametrize("kind", ANIMATED)
def test_the_first_frame_is_still_the_answer(save: Callable[..., bytes], kind: str) -> None:
    np.testing.assert_array_equal(decode(animation(save, kind, 9)), np.zeros((6, 8, 3)))


def test_every_still_picture_has_one_frame(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        kind = name.split("-")[0].upper()
        if not name.endswith("-animated"):
            assert count_frames(data, kind, limit=10) == 1, name


def test_what_png_announces_counts_before_a_single_pixel_is_there() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
    data = PNG_HEADER + header + png_chunk(b"acTL", struct.pack(">II", 1001, 0))
    with pytest.raises(ImageTooLarge, match="1,000 frames"):
        decode(data)


def test_counting_stops_one_past_the_limit() -> None:
    anmf = b"ANMF" + struct.pack("<I", 0)
    for kind, data in (
        ("GIF", GIF_HEADER + GIF_FRAME * 100),
        ("WEBP", webp(WEBP_STILL + anmf * 100)),
        ("TIFF", tiff_chain(100)),
    ):
        assert count_frames(data, kind, limit=7) == 8
        with pytest.raises(ImageTooLarge):
            decode(data, max_frames=99)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_chains_of_directories_of_either_order_and_size(order: str, *, big: bool) -> None:
    assert count_frames(tiff_chain(5, order=order, big=big), "TIFF", limit=100) == 5


@pytest.mark.parametrize("back_to", [0, 1, 4])
def test_a_loop_of_directories_counts_each_once(back_to: int) -> None:
    """A directory of one tag is 18 bytes, the first lies at 8."""
    assert count_frames(tiff_chain(5, last=8 + 18 * back_to), "TIFF", limit=100) == 5


def test_rubbish_behind_the_last_directory_is_no_page(thumbnail: Image.Image, save: Callable[..., bytes]) -> None:
    data = bytearray(save(thumbnail, "TIFF"))
    directory = int.from_bytes(data[4:8], "little")
    tags = int.from_bytes(data[directory : directory + 2], "little")
    following = directory + 2 + 12 * tags
    data[following : following + 4] = struct.pack("<I", len(data))
    data += b"\xff\xff"
    assert count_frames(bytes(data), "TIFF", limit=10) == 1
    np.testing.assert_array_equal(decode(bytes(data)), np.asarray(thumbnail))


@pytest.mark.parametrize("extension", [b"!\xfe\x03abc\0", b"!\xf9\x04\0\0\0\0\0", b"!\xff\x0bNETSCAPE2.0\x03\1\0\0\0"])
def test_extensions_and_palettes_of_a_gif_are_no_frames(extension: bytes) -> None:
    palette = bytes(6 << 2)
    frame = extension + GIF_FRAME[:9] + b"\x82" + palette + GIF_FRAME[10:]
    data = GIF_HEADER[:10] + b"\x87" + GIF_HEADER[11:] + bytes(6 << 7) + frame * 3 + extension + b";" + frame * 9
    assert count_frames(data, "GIF", limit=100) == 3


def test_absurdly_many_blocks_are_refused() -> None:
    many = MAX_BLOCKS + 1
    tags = b"II*\0" + struct.pack("<IH", 8, module._MAX_TAGS + 1)
    for data, text in (
        (PNG_HEADER + png_chunk(b"abCd") * many, "chunks before"),
        (webp(WEBP_STILL + (b"junk" + bytes(4)) * many), "no frame"),
        (GIF_HEADER + b"!\xaa\0" * 4 * many + GIF_FRAME, "blocks"),
        (GIF_HEADER + b"!\xfe" + b"\x01a" * 4 * many + b"\0" + GIF_FRAME, "blocks"),
        (GIF_HEADER + GIF_FRAME[:-5] + b"\x01a" * 4 * many + b"\0;", "blocks"),
        (GIF_HEADER + b"garbage" + GIF_FRAME, "rubbish"),
        (tags + bytes(60_000), "tags"),
    ):
        with pytest.raises(UndecodableImage, match=text):
            decode(data)


def test_a_long_honest_gif_is_not_absurd() -> None:
    long = GIF_HEADER + GIF_FRAME[:11] + (b"\xff" + bytes(255)) * 3 * MAX_BLOCKS + b"\0;"
    assert count_frames(long, "GIF", limit=1) == 1
    assert count_frames(GIF_HEADER + GIF_FRAME[:11] + (b"\x7f" + bytes(127)) * 30_000 + b"\0;", "GIF", limit=1) == 1
    assert count_frames(GIF_HEADER + GIF_FRAME * 3 * MAX_BLOCKS, "GIF", limit=4 * MAX_BLOCKS) == 3 * MAX_BLOCKS


@given(st.sampled_from(ANIMATED), st.binary(max_size=80), st.integers(0, 60), st.integers(1, 5))
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_a_number_within_the_limit_or_a_refusal(kind: str, tail: bytes, keep: int, limit: int) -> None:
    whole = {
        "GIF": GIF_HEADER + GIF_FRAME * 9,
        "PNG": PNG_HEADER + png_chunk(b"abCd") * 9,
        "TIFF": tiff_chain(9),
        "WEBP": webp(WEBP_STILL + (b"ANMF" + bytes(4)) * 9),
    }
    try:
        frames = count_frames(whole[kind][:keep] + tail, kind, limit=limit)
    except ValueError:
        return
    assert 0 <= frames <= limit + 1 or kind == "PNG"
