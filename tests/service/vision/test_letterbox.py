"""The letterbox against the reference's numbers, and what must hold of any letterbox."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.vision.letterbox import FILL, Letterbox, choose_shape

SERVED = [(640, 640), (384, 640), (640, 384), (512, 640), (640, 512)]
sides = st.integers(1, 3000)
sizes = st.tuples(sides, sides)
shapes = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda cells: (32 * cells[0], 32 * cells[1]))


@cache
def golden_image(kind: str, height: int, width: int) -> NDArray[np.uint8]:
    if kind == "noise":
        return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    y, x, channel = np.ogrid[:height, :width, :3]
    wave = ((x * (channel + 1) + 2 * y) % 510).astype(np.int16)
    return np.where(wave > 255, 510 - wave, wave).astype(np.uint8)


def golden_letterbox(case: dict[str, Any]) -> Letterbox:
    options = case["args"]
    shape = options["new_shape"]
    shape_hw = (shape, shape) if isinstance(shape, int) else (shape[0], shape[1])
    image_hw = (case["h"], case["w"])
    if options["auto"]:
        return Letterbox.fit_to_stride(image_hw, shape_hw, stride=options.get("stride", 32))
    return Letterbox.fit(image_hw, shape_hw, scale_up=options.get("scaleup", True))


def test_pixels_and_numbers_are_the_reference_s(golden: Path) -> None:
    """All settings but scaleFill, which distorts and is not served."""
    cases = json.loads((golden / "letterbox.json").read_text())["cases"]
    values = np.load(golden / "letterbox_values.npz")
    for case in cases:
        if "scaleFill" in case["args"]:
            continue
        letterbox = golden_letterbox(case)
        pixels = letterbox.apply(golden_image(case["image"], case["h"], case["w"]))
        assert list(pixels.shape) == case["out"]
        assert [letterbox.ratio] * 2 == case["ratio"]
        left, top = case["pad"]
        assert (letterbox.left, letterbox.top) == (round(left - 0.1), round(top - 0.1))
        sampled = pixels.reshape(-1)[values[f"{case['id']}_pos"]].astype(int)
        assert np.abs(sampled - values[case["id"]]).max() <= 1
        if letterbox.ratio == 1:
            assert hashlib.sha256(pixels.tobytes()).hexdigest() == case["sha256"]


def test_boxes_go_back_where_the_reference_puts_them(golden: Path) -> None:
    """Exactly where nothing is rounded; else within the half pixels of padding and size that the reference forgets."""
    for case in json.loads((golden / "scale_coords.json").read_text()):
        image_hw, shape_hw = tuple(case["hw"]), tuple(case["net_hw"])
        letterbox = Letterbox.fit(image_hw, shape_hw)
        found = letterbox.to_image(np.array(case["boxes"], np.float32))
        whole = letterbox.resized_hw == (image_hw[0] * letterbox.ratio, image_hw[1] * letterbox.ratio)
        tolerance = 1e-3 if whole else 1 / letterbox.ratio
        np.testing.assert_allclose(found, case["with_ratio_pad"], atol=tolerance)


@given(sizes, shapes, st.booleans())
@settings(deadline=None, max_examples=50)
def test_the_picture_lies_inside_centred_and_as_large_as_it_may_be(
    image_hw: tuple[int, int], shape_hw: tuple[int, int], scale_up: bool
) -> None:
    letterbox = Letterbox.fit(image_hw, shape_hw, scale_up=scale_up)
    below = shape_hw[0] - letterbox.resized_hw[0] - letterbox.top
    beside = shape_hw[1] - letterbox.resized_hw[1] - letterbox.left
    assert 0 <= letterbox.top <= below <= letterbox.top + 1
    assert 0 <= letterbox.left <= beside <= letterbox.left + 1
    assert scale_up or letterbox.ratio <= 1
    if letterbox.ratio != 1:
        assert letterbox.resized_hw[0] == shape_hw[0] or letterbox.resized_hw[1] == shape_hw[1]


@given(sizes, shapes, st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=5))
@settings(deadline=None, max_examples=50)
def test_boxes_survive_the_way_to_the_network_and_back(
    image_hw: tuple[int, int], shape_hw: tuple[int, int], relative: list[tuple[float, float, float, float]]
) -> None:
    letterbox = Letterbox.fit(image_hw, shape_hw)
    height, width = image_hw
    boxes = np.array(relative, np.float32).reshape(-1, 4) * np.array([width, height, width, height], np.float32)
    there = letterbox.to_network(boxes)
    assert there.dtype == np.float32
    np.testing.assert_allclose(letterbox.to_image(there), boxes, atol=2e-4 * max(image_hw))


def test_the_frame_of_the_picture_is_the_frame_of_what_was_drawn() -> None:
    letterbox = Letterbox.fit((375, 1242), (640, 640))
    frame = letterbox.to_network(np.array([[0, 0, 1242, 375]], np.float32))
    pixels = letterbox.apply(np.full((375, 1242, 3), 255, np.uint8))
    rows, columns = np.nonzero((pixels == 255).all(axis=2))
    np.testing.assert_array_equal(frame, [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])


def test_boxes_in_the_grey_are_clipped_to_the_picture() -> None:
    letterbox = Letterbox.fit((100, 200), (640, 640))
    found = letterbox.to_image(np.array([[-50, 0, 700, 640], [0, 0, 640, 50]], np.float32))
    np.testing.assert_array_equal(found, [[0, 0, 200, 100], [0, 0, 200, 0]])


@pytest.mark.parametrize("image_hw", [(48, 64), (100, 30), (512, 773), (96, 128)])
def test_a_slot_of_a_batch_is_written_in_place_and_its_neighbours_left(image_hw: tuple[int, int]) -> None:
    image = golden_image("noise", *image_hw)
    letterbox = Letterbox.fit(image_hw, (96, 128))
    batch = np.full((3, 96, 128, 3), 7, np.uint8)
    out = letterbox.apply(image, batch[1])
    assert np.shares_memory(out, batch)
    np.testing.assert_array_equal(batch[1], letterbox.apply(image))
    assert (batch[[0, 2]] == 7).all()
    inside = np.zeros((96, 128), bool)
    height, width = letterbox.resized_hw
    inside[letterbox.top : letterbox.top + height, letterbox.left : letterbox.left + width] = True
    assert (batch[1][~inside] == FILL).all()


def test_a_strip_keeps_a_pixel() -> None:
    letterbox = Letterbox.fit((10_000, 2), (640, 640))
    assert letterbox.resized_hw == (640, 1)
    assert letterbox.apply(np.zeros((10_000, 2, 3), np.uint8)).shape == (640, 640, 3)


def test_a_wrong_picture_or_slot_is_our_mistake() -> None:
    letterbox = Letterbox.fit((48, 64), (96, 128))
    with pytest.raises(AssertionError):
        letterbox.apply(np.zeros((64, 48, 3), np.uint8))
    with pytest.raises(AssertionError):
        letterbox.apply(np.zeros((48, 64, 3), np.uint8), np.zeros((128, 96, 3), np.uint8))


@pytest.mark.parametrize(
    ("image_hw", "expected"),
    [
        ((1080, 1920), (384, 640)),
        ((1920, 1080), (640, 384)),
        ((512, 773), (512, 640)),
        ((480, 640), (512, 640)),
        ((640, 480), (640, 512)),
        ((416, 416), (640, 640)),
        ((10, 1000), (384, 640)),
        ((576, 640), (640, 640)),
    ],
)
def test_the_least_grey_is_chosen(image_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert choose_shape(image_hw, SERVED) == expected


@given(sizes, st.lists(shapes, min_size=1, max_size=6))
@settings(deadline=None, max_examples=50)
def test_the_chosen_shape_shrinks_no_more_than_any_other(
    image_hw: tuple[int, int], shapes_hw: list[tuple[int, int]]
) -> None:
    chosen = choose_shape(image_hw, shapes_hw)
    largest = max(Letterbox.fit(image_hw, shape_hw).ratio for shape_hw in shapes_hw)
    assert Letterbox.fit(image_hw, chosen).ratio == pytest.approx(largest)
    for shape_hw in shapes_hw:
        if shape_hw[0] * shape_hw[1] < chosen[0] * chosen[1]:
            assert Letterbox.fit(image_hw, shape_hw).ratio < largest
