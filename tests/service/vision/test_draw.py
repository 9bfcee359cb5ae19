"""What drawing must and must not do to a picture. How it looks was judged by eye."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from service.vision.detections import Detections
from service.vision.draw import class_colour, draw

NAMES = [f"class {index}" for index in range(80)]


def detections(*boxes: tuple[float, float, float, float], class_id: int = 0) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.full(count, class_id, np.int32),
    )


def test_a_new_picture_is_returned_and_the_old_one_left() -> None:
    image = np.full((200, 300, 3), 50, np.uint8)
    drawn = draw(image, detections((20, 60, 120, 160), class_id=3), NAMES)
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    assert drawn.flags.writeable
    assert not np.shares_memory(drawn, image)
    assert (image == 50).all()


def test_nothing_detected_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    np.testing.assert_array_equal(draw(image, detections(), NAMES), image)


def test_the_edges_are_the_class_s_colour_and_the_inside_is_left() -> None:
    drawn = draw(np.zeros((200, 300, 3), np.uint8), detections((20, 60, 120, 160), class_id=3), NAMES)
    for row, column in ((60, 119), (160, 40), (120, 20), (120, 120)):
        assert tuple(drawn[row, column]) == class_colour(3)
    assert (drawn[80:150, 40:110] == 0).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 30, 30), (280, 0, 300, 20), (0, 190, 20, 200), (290, 190, 300, 200), (300, 200, 300, 200)]
)
def test_labels_stay_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    """A label that is wholly visible has the same number of its letters' dark pixels wherever it stands."""
    ground = np.full((200, 300, 3), 255, np.uint8)
    middle = draw(ground, detections((100, 90, 130, 110)), NAMES)
    corner = draw(ground, detections(box), NAMES)
    assert (corner.max(axis=2) < 60).sum() == (middle.max(axis=2) < 60).sum() > 20


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 8), (2160, 3840)])
def test_any_size_can_be_drawn_on(size_hw: tuple[int, int]) -> None:
    image = np.zeros((*size_hw, 3), np.uint8)
    drawn = draw(image, detections((0, 0, size_hw[1], size_hw[0]), (size_hw[1], 0, 0, 0)), NAMES)
    assert drawn.shape == image.shape
    assert drawn.any()


def test_the_best_detection_is_on_top() -> None:
    best, other = (10, 60, 60, 110), (10, 60, 80, 130)
    both = Detections(np.array([best, other], np.float32), np.array([0.9, 0.5], np.float32), np.array([1, 2], np.int32))
    drawn = draw(np.zeros((200, 300, 3), np.uint8), both, NAMES)
    assert tuple(drawn[60, 59]) == class_colour(1)


def test_colours_of_neighbouring_classes_differ() -> None:
    assert len({class_colour(index) for index in range(80)}) == 80
    for one, other in itertools.pairwise(class_colour(index) for index in range(80)):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 100


def test_all_four_edges_show_of_a_box_as_large_as_the_picture() -> None:
    drawn = draw(np.zeros((200, 300, 3), np.uint8), detections((0, 0, 300, 200), class_id=3), NAMES)
    for row, column in ((0, 299), (199, 150), (100, 0), (100, 299)):
        assert tuple(drawn[row, column]) == class_colour(3)


def test_a_box_thinner_than_its_lines_is_not_drawn_larger() -> None:
    drawn = draw(np.zeros((1000, 1000, 3), np.uint8), detections((500, 600, 502, 601)), NAMES)
    rows, columns = np.nonzero(drawn[600:].any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 1, 500, 502)


@pytest.mark.parametrize("name", ["car", "jaguar", "Öltank", "AV", "traffic light", "", "f", "日本"])
@pytest.mark.parametrize("side", [300, 700, 1080])
def test_a_label_is_the_letters_that_pillow_would_have_written(name: str, side: int) -> None:
    drawn = draw(np.zeros((side, side, 3), np.uint8), detections((20, 100, side - 1, side - 1)), [name])
    text = f"{name} 0.90"
    font = ImageFont.load_default(size=max(9, side / 32))
    _, _, width, height = font.getbbox(text, anchor="la")
    margin = round(height / 4)
    patch = Image.new("RGB", (round(width) + 2 * margin, round(height) + 2 * margin), class_colour(0))
    ImageDraw.Draw(patch).text((margin, margin), text, fill=(0, 0, 0), font=font, anchor="la")
    np.testing.assert_array_equal(drawn[100 - patch.height : 100, 20 : 20 + patch.width], patch)


def test_the_same_picture_is_drawn_again() -> None:
    ground = np.zeros((200, 300, 3), np.uint8)
    first = draw(ground, detections((20, 60, 120, 160), class_id=3), NAMES)
    for class_id in (4, 3):
        again = draw(ground, detections((20, 60, 120, 160), class_id=class_id), NAMES)
        assert np.array_equal(first, again) == (class_id == 3)
