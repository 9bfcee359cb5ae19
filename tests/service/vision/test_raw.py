import numpy as np
import pytest

from service.vision.image import ImageTooLarge, UndecodableImage
from service.vision.raw import RawImage

PIXELS = np.random.default_rng(3).integers(0, 256, (5, 7, 3), np.uint8)


def test_rgb_is_a_view():
    data = PIXELS.tobytes()
    shown = RawImage(data, 5, 7, "rgb").to_rgb(max_pixels=35)
    assert np.array_equal(shown, PIXELS)
    assert not shown.flags.owndata
    assert not shown.flags.writeable


def test_bgr_is_turned():
    data = np.ascontiguousarray(PIXELS[:, :, ::-1]).tobytes()
    assert np.array_equal(RawImage(data, 5, 7, "bgr").to_rgb(max_pixels=35), PIXELS)


def test_grey_has_three_equal_channels():
    grey = PIXELS[:, :, 0].tobytes()
    shown = RawImage(grey, 5, 7, "grey").to_rgb(max_pixels=35)
    assert all(np.array_equal(shown[:, :, channel], PIXELS[:, :, 0]) for channel in range(3))


@pytest.mark.parametrize(("height", "width"), [(5, 8), (0, 7), (-1, -7)])
def test_wrong_sizes_are_refused(height, width):
    with pytest.raises(UndecodableImage):
        RawImage(PIXELS.tobytes(), height, width, "rgb").to_rgb(max_pixels=100)


def test_too_many_pixels_are_refused_before_their_bytes_are_counted():
    with pytest.raises(ImageTooLarge):
        RawImage(b"", 100_000, 100_000, "rgb").to_rgb(max_pixels=100)
