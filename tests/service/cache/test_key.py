"""Keys of images."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cache import CacheKeys
from service.vision.spec import ModelSpec

SPEC = ModelSpec(
    name="vehicles",
    version="1",
    variant="tiny",
    class_names=("Car",),
    input_shapes=((640, 640), (384, 640)),
    max_candidates=1000,
    score_floor=0.001,
    precision="f16",
    sha256="ab" * 32,
    origin={},
    average_precision={},
    known_images=(),
)
KEYS = CacheKeys(b"secret")


def test_the_same_question_has_the_same_key_in_every_process():
    key = KEYS.make(b"picture", SPEC, engine="f32")
    assert CacheKeys(b"secret").make(b"picture", SPEC, engine="f32") == key
    assert len(key) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"name": "people"},
        {"version": "2"},
        {"sha256": "cd" * 32},
        {"input_shapes": ((640, 640),)},
        {"score_floor": 0.002},
    ],
)
def test_whatever_decides_the_candidates_changes_the_key(change):
    assert KEYS.make(b"picture", replace(SPEC, **change), engine="f32") != KEYS.make(b"picture", SPEC, engine="f32")


def test_picture_precision_and_secret_change_the_key():
    key = KEYS.make(b"picture", SPEC, engine="f32")
    assert KEYS.make(b"picturf", SPEC, engine="f32") != key
    assert KEYS.make(b"picture", SPEC, engine="bf16") != key
    assert CacheKeys(b"other").make(b"picture", SPEC, engine="f32") != key


def test_what_cannot_change_the_candidates_leaves_the_key():
    renamed = replace(SPEC, class_names=("Auto",), average_precision={"served": 0.5})
    assert KEYS.make(b"picture", renamed, engine="f32") == KEYS.make(b"picture", SPEC, engine="f32")


TEXT = st.text("a1\x00,x", max_size=3)
PARTS = st.tuples(TEXT, TEXT, TEXT, TEXT, st.binary(max_size=3))


def key_of(parts: tuple[str, str, str, str, bytes]) -> bytes:
    name, version, sha256, precision, data = parts
    return KEYS.make(data, replace(SPEC, name=name, version=version, sha256=sha256, precision=""), engine=precision)


@given(PARTS, PARTS)
def test_different_parts_never_run_together(first, second):
    assert (key_of(first) == key_of(second)) == (first == second)


@given(PARTS, st.integers(0, 3), st.integers(0, 4))
def test_moving_bytes_between_neighbours_changes_the_key(parts, which, at):
    moved = list(parts)
    left, right = moved[which], moved[which + 1]
    tail = left[at:]
    moved[which] = left[:at]
    moved[which + 1] = (tail.encode() if isinstance(right, bytes) else tail) + right
    assert (key_of(tuple(moved)) == key_of(parts)) == (tuple(moved) == parts)


@given(st.binary(max_size=100), st.integers(0, 10))
def test_a_part_of_a_larger_buffer_is_hashed_where_it_lies(data, before):
    view = memoryview(bytearray(before) + data)[before:]
    assert KEYS.make(view, SPEC, engine="f32") == KEYS.make(data, SPEC, engine="f32")


@pytest.mark.parametrize("length", [1, 64, 65, 1000])
def test_a_secret_of_any_length_counts_to_its_last_byte(length):
    secret = b"s" * length
    key = CacheKeys(secret).make(b"picture", SPEC, engine="f32")
    assert CacheKeys(secret[:-1] + b"t").make(b"picture", SPEC, engine="f32") != key


def test_no_secret_is_our_mistake():
    with pytest.raises(AssertionError, match="empty secret"):
        CacheKeys(b"")
