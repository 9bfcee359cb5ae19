"""What Pillow reads: bombs in every format's header, rare kinds of TIFF and PNG, and its silence."""

import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from service.vision.image import ImageTooLarge, decode, read_header
from service.vision.pillow import SILENCE

LIMIT = 50_000_000


def png(size: tuple[int, int], depth: int, colour: int, *, pixels: bytes, extra: tuple[bytes, bytes] = ()) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    rest = (chunk(*extra) if extra else b"") + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + rest


def tiff(size: tuple[int, int], *, bits: int, photometric: int, pixels: bytes) -> bytes:
    """One row-by-row strip of grey, uncompressed, little-endian."""
    tags = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: photometric, 277: 1, 278: size[1], 279: len(pixels)}
    tags = dict(sorted((tags | {273: 8 + 2 + 12 * (len(tags) + 1) + 4}).items()))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels


def webp(width: int, height: int, *, animated: bool, frame: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body

    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = chunk(b"VP8X", bytes([2 * animated, 0, 0, 0]) + size)
    if animated:
        small = bytes(6) + (63).to_bytes(3, "little") + (47).to_bytes(3, "little") + bytes(4)
        body += chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", small + frame)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body + (b"" if animated else frame)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", 4, 4) + bytes(3) + b"," + struct.pack("<HHHH", 0, 0, width, height) + bytes(9)


def test_claims_of_many_pixels_are_refused_before_any_is_decoded(files: dict[str, bytes]) -> None:
    frame = files["webp-lossless"][12:]
    bombs = {
        "png": png((50_000, 50_000), 8, 2, pixels=b""),
        "bmp": files["bmp"][:18] + struct.pack("<ii", 40_000, -40_000) + files["bmp"][26:],
        "gif": gif(60_000, 60_000),
        "gif that Pillow alone would warn of": gif(10_000, 10_000),
        "tiff": tiff((40_000, 40_000), bits=8, photometric=1, pixels=b"abcd"),
        "webp": webp(16_383, 16_383, animated=False, frame=frame),
        "webp, animated": webp(16_383, 16_383, animated=True, frame=frame),
    }
    for data in bombs.values():
        with pytest.raises(ImageTooLarge, match="pixels"):
            read_header(data, max_pixels=LIMIT)
        with pytest.raises(ImageTooLarge, match="pixels"):
            decode(data, max_pixels=LIMIT)


def test_transparent_grey_levels_and_colours_show_grey() -> None:
    grey16 = np.array([0, 1000, 65535], ">u2").tobytes()
    for data in (
        png((3, 1), 16, 0, pixels=b"\0" + grey16, extra=(b"tRNS", struct.pack(">H", 1000))),
        png((3, 1), 8, 0, pixels=b"\0\0\x05\xff", extra=(b"tRNS", struct.pack(">H", 5))),
        png(
            (3, 1), 8, 2, pixels=b"\0" + bytes(3) + b"\1\2\3" + b"\xff" * 3, extra=(b"tRNS", bytes([0, 1, 0, 2, 0, 3]))
        ),
    ):
        np.testing.assert_array_equal(decode(data)[0, :, 1], [0, 114, 255])


def test_grey_of_few_bits_spans_the_whole_range() -> None:
    np.testing.assert_array_equal(decode(png((4, 1), 2, 0, pixels=b"\0\x1b"))[0, :, 2], [0, 85, 170, 255])


def test_12_bit_tiff_is_scaled_by_its_own_range() -> None:
    packed = bytes([0xFF, 0xF0, 0x00, 0x80, 0x0F, 0xFF])
    np.testing.assert_array_equal(
        decode(tiff((4, 1), bits=12, photometric=1, pixels=packed))[0, :, 0], [255, 0, 128, 255]
    )


def test_16_bit_tiff_with_white_as_zero_is_turned_round() -> None:
    samples = np.array([0, 0x8000, 0xFFFF], "<u2").tobytes()
    for photometric, expected in ((1, [0, 128, 255]), (0, [255, 127, 0])):
        data = tiff((3, 1), bits=16, photometric=photometric, pixels=samples)
        np.testing.assert_array_equal(decode(data)[0, :, 0], expected)


def test_an_animation_gives_its_first_frame(save: Callable[..., bytes]) -> None:
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = save(red, kind, save_all=True, append_images=[blue])
        np.testing.assert_allclose(decode(data).mean(axis=(0, 1)), [255, 0, 0], atol=3)


def test_cmyk_tiff_and_jpeg_become_rgb(save: Callable[..., bytes]) -> None:
    for kind in ("TIFF", "JPEG"):
        data = save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind)
        np.testing.assert_allclose(decode(data)[0, 0], [255, 0, 0], atol=3)


def test_a_wrong_orientation_tag_leaves_a_tiff_as_it_is(thumbnail: Image.Image, save: Callable[..., bytes]) -> None:
    data = save(thumbnail, "TIFF", tiffinfo={274: 9})
    assert read_header(data, max_pixels=LIMIT).orientation == 1
    np.testing.assert_array_equal(decode(data), np.asarray(thumbnail))


def test_silence_ends_when_the_last_thread_leaves() -> None:
    before = list(warnings.filters)
    with SILENCE:
        with SILENCE:
            warnings.warn_explicit("damaged", UserWarning, "PngImagePlugin.py", 1, module="PIL.PngImagePlugin")
        warnings.warn_explicit("damaged", UserWarning, "PngImagePlugin.py", 1, module="PIL.PngImagePlugin")
        with pytest.warns(UserWarning, match="not Pillow's"):
            warnings.warn_explicit("not Pillow's", UserWarning, "other.py", 1, module="other")
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="damaged"):
        warnings.warn_explicit("damaged", UserWarning, "PngImagePlugin.py", 1, module="PIL.PngImagePlugin")
