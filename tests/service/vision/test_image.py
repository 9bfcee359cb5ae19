"""Files of every kind to pixels: right, upright, or one of three errors and not a word on stderr."""

import io
import random
import threading
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.vision.image import (
    FORMATS,
    ImageError,
    ImageTooLarge,
    UndecodableImage,
    UnsupportedImage,
    decode,
    read_header,
)

LIMIT = 2_000_000
LOSSLESS = ["png", "png-alpha", "png-animated", "webp-lossless", "bmp", "tiff", "tiff-lzw"]


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean absolute difference in levels."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def failure(data: bytes) -> type[ImageError] | None:
    """How decoding fails; None when it does not."""
    try:
        decode(data)
    except ImageError as error:
        return type(error)
    return None


def test_every_format_comes_out_as_the_picture_that_went_in(files: dict[str, bytes], thumbnail: Image.Image) -> None:
    for name, data in files.items():
        pixels = decode(data)
        header = read_header(data, max_pixels=LIMIT)
        expected = thumbnail.rotate(-90, expand=True) if header.orientation == 6 else thumbnail
        if "grey" in name:
            expected = expected.convert("L").convert("RGB")
        if name == "tiff-fax":
            expected = expected.convert("1").convert("RGB")
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert pixels.flags.writeable
        assert pixels.shape == (*header.upright_hw, 3)
        assert distance(pixels, np.asarray(expected)) < (8 if "palette" not in name else 12), name


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_keep_every_pixel(files: dict[str, bytes], thumbnail: Image.Image, name: str) -> None:
    pixels = decode(files[name])
    upright = pixels if pixels.shape[0] == 48 else np.rot90(pixels)
    np.testing.assert_array_equal(upright, np.asarray(thumbnail))


def test_a_jpeg_decodes_as_libjpeg_says_not_nearly_so(photo: Image.Image, save: Callable[..., bytes]) -> None:
    data = save(photo, "JPEG", quality=90)
    np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(
    kind: str, orientation: int, thumbnail: Image.Image, save: Callable[..., bytes]
) -> None:
    """What a camera stores of an upright scene under each orientation comes back upright."""
    turn_back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = thumbnail if orientation == 1 else thumbnail.transpose(Image.Transpose(turn_back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(stored, kind, exif=exif, quality=95)
    header = read_header(data, max_pixels=LIMIT)
    assert (header.width, header.height, header.orientation) == (*stored.size, orientation)
    assert header.upright_hw == (48, 64)
    assert distance(decode(data), np.asarray(thumbnail)) < 8


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bits_are_scaled_not_clipped(extension: str, thumbnail: Image.Image) -> None:
    for eight in (np.asarray(thumbnail), np.asarray(thumbnail.convert("L"))):
        data = cv2.imencode(
            extension, eight[..., ::-1].astype(np.uint16) * 257 if eight.ndim == 3 else eight * np.uint16(257)
        )[1]
        expected = eight if eight.ndim == 3 else np.repeat(eight[..., None], 3, axis=2)
        np.testing.assert_array_equal(decode(data.tobytes()), expected)


def test_transparency_shows_grey(save: Callable[..., bytes]) -> None:
    colours = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]], np.uint8)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        pixels = decode(save(Image.fromarray(colours), kind, **options))
        np.testing.assert_allclose(pixels[0], [[200, 0, 0], [114, 114, 114], [157, 57, 57]], atol=1)
    grey = decode(save(Image.fromarray(colours[..., [0, 3]]), "PNG"))
    np.testing.assert_allclose(grey[0, :, 0], [200, 114, 157], atol=1)


def test_a_transparent_palette_entry_shows_grey(save: Callable[..., bytes]) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    for kind in ("PNG", "GIF"):
        pixels = decode(save(image, kind, transparency=1))
        np.testing.assert_array_equal(pixels[0], [[10, 20, 30], [114, 114, 114], [70, 80, 90]])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.98])
def test_truncated_files_are_refused(files: dict[str, bytes], share: float) -> None:
    for name, data in files.items():
        if name.endswith("-animated"):
            continue  # cut in a later frame, the first is whole
        cut = data[: int(len(data) * share)]
        assert failure(cut) is UndecodableImage, name


@pytest.mark.parametrize("data", [b"", b"\xff", b"hello", b"<svg/>", b"%PDF-1.7", b"8BPS\0\1", bytes(100)])
def test_what_is_no_image_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        decode(data)


def test_formats_that_pillow_knows_but_we_do_not_take_are_unsupported(
    thumbnail: Image.Image, save: Callable[..., bytes]
) -> None:
    for kind in ("PPM", "TGA", "ICO", "PCX", "JPEG2000", "AVIF", "SGI", "EPS"):
        with pytest.raises(UnsupportedImage):
            decode(save(thumbnail, kind))


def test_formats_that_are_switched_off_are_unsupported(files: dict[str, bytes]) -> None:
    assert {read_header(data, max_pixels=LIMIT).format for data in files.values()} == FORMATS
    for data in files.values():
        kind = read_header(data, max_pixels=LIMIT).format
        only = frozenset({kind})
        np.testing.assert_array_equal(decode(data, formats=only), decode(data))
        for take in (decode, read_header):
            with pytest.raises(UnsupportedImage, match=f"{kind} images are not taken here"):
                take(data, max_pixels=LIMIT, formats=FORMATS - only)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_without_a_known_range_are_refused(mode: str, save: Callable[..., bytes]) -> None:
    with pytest.raises(UndecodableImage, match="32 bits"):
        decode(save(Image.new(mode, (4, 4)), "TIFF"))


def test_the_pixel_limit_is_exact(files: dict[str, bytes]) -> None:
    for data in files.values():
        read_header(data, max_pixels=64 * 48)
        with pytest.raises(ImageTooLarge, match="x"):
            read_header(data, max_pixels=64 * 48 - 1)
        with pytest.raises(ImageTooLarge):
            decode(data, max_pixels=64 * 48 - 1)


def test_one_byte_wrong_or_a_piece_missing_gives_pixels_or_one_of_the_three_errors(
    files: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    source = random.Random(11)
    for name, data in files.items():
        for _ in range(60):
            damaged = bytearray(data)
            if source.random() < 0.3:
                del damaged[source.randrange(len(data)) :][: source.randrange(1, 50)]
            for _ in range(source.choice([1, 2, 8])):
                damaged[source.randrange(source.choice([len(damaged), min(len(damaged), 200)]))] = source.randrange(256)
            try:
                pixels = decode(bytes(damaged), max_pixels=LIMIT)
            except ImageError:
                continue
            assert pixels.dtype == np.uint8, name
            assert pixels.shape[0] * pixels.shape[1] <= LIMIT
    assert capfd.readouterr() == ("", "")


def test_threads_do_not_disturb_one_another_nor_the_warning_filters(files: dict[str, bytes]) -> None:
    expected = {name: decode(data) for name, data in files.items()}
    filters = list(warnings.filters)
    wrong: list[str] = []

    def work(seed: int) -> None:
        names = random.Random(seed).choices(list(files), k=60)
        wrong.extend(name for name in names if not np.array_equal(decode(files[name]), expected[name]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert list(warnings.filters) == filters
