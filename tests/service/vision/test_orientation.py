"""The orientation tag out of good and bad Exif blocks, and the eight turns."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.vision.orientation import UPRIGHT, read_orientation, turn_upright


def exif(value: int, *, order: str = "<", kind: int = 3, before: int = 0, tag: int = 0x0112) -> bytes:
    """An Exif block whose first directory holds `before` other tags and then this one."""
    filler = struct.pack(order + "HHIHH", 0x010F, 3, 1, 5, 0) * before
    entry = struct.pack(order + "HHIHH", tag, kind, 1, value, 0)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", before + 1) + filler + entry


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_with_and_without_the_marker(value: int, order: str) -> None:
    block = exif(value, order=order, before=3)
    assert read_orientation(block) == value
    assert read_orientation(b"Exif\0\0" + block) == value


@pytest.mark.parametrize(
    "block",
    [b"", b"II", b"XX*\0", exif(0), exif(9), exif(6, kind=4), exif(6, tag=0x0113), exif(6, before=2)[:20]],
)
def test_what_does_not_say_is_upright(block: bytes) -> None:
    assert read_orientation(block) == UPRIGHT


@settings(deadline=None)
@given(st.sampled_from([b"II*\0", b"MM\0*"]), st.binary(max_size=60))
def test_no_block_is_an_error(head: bytes, rest: bytes) -> None:
    assert 1 <= read_orientation(head + rest) <= 8


def test_the_eight_turns_are_those_of_exif() -> None:
    """Exif names for each value where the stored row 0 and column 0 belong: that corner of the upright picture."""
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    corners = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    for orientation, corner in corners.items():
        upright = turn_upright(stored, orientation)
        assert upright.shape == ((2, 3, 3) if orientation < 5 else (3, 2, 3))
        np.testing.assert_array_equal(upright[corner], stored[0, 0])
        # The stored first row is a row of the upright picture for 1 to 4 and a column for 5 to 8.
        edge = upright[corner[0]] if orientation < 5 else upright[:, corner[1]]
        assert {tuple(pixel) for pixel in edge} == {tuple(pixel) for pixel in stored[0]}
