"""What is cached of an image, and its wire form."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.cache.entry import HEADER, SEAL, CachedImage, DamagedEntry, decode, encode
from service.vision.detections import Candidates
from service.vision.letterbox import Letterbox
from service.vision.postprocess import PostprocessOptions, postprocess

SIDES = st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
INT32 = st.one_of(st.integers(0, 300), st.integers(0, 70_000), st.integers(-(2**31), 2**31 - 1))


@st.composite
def candidates(draw) -> Candidates:
    """Any at all: infinite, not a number, negative."""
    rows = draw(st.integers(0, 40))
    return Candidates(
        draw(arrays(np.float32, (rows, 4))),
        draw(arrays(np.float32, rows)),
        draw(arrays(np.int32, rows, elements=INT32)),
        draw(arrays(np.int32, rows, elements=INT32)),
    )


@given(candidates(), SIDES, SIDES)
def test_an_entry_survives_the_wire_to_the_last_bit(same, given_rows, image_hw, shape_hw):
    entry = CachedImage.of(given_rows, image_hw=image_hw, shape_hw=shape_hw)
    assert same(decode(encode(entry)), entry)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_cached_answer_is_the_uncached_one(make_entry, multi_label):
    entry = make_entry(rows=500)
    letterbox = Letterbox.fit(entry.image_hw, entry.shape_hw)
    options = PostprocessOptions(confidence=0.01, multi_label=multi_label)
    cached = postprocess(decode(encode(entry)).candidates, letterbox, options)
    computed = postprocess(entry.candidates, letterbox, options)
    for name in ("boxes", "scores", "class_ids"):
        assert getattr(cached, name).tobytes() == getattr(computed, name).tobytes()


def test_nobody_can_write_what_an_entry_holds(make_entry):
    entry = make_entry()
    for kept in (entry, decode(encode(entry))):
        for name in ("boxes", "scores", "classes", "predictions"):
            assert not getattr(kept.candidates, name).flags.writeable


def test_boxes_and_scores_are_decoded_without_a_copy(make_entry):
    data = encode(make_entry())
    rows = decode(data).candidates
    whole = np.frombuffer(data, np.uint8)
    assert np.shares_memory(rows.boxes, whole)
    assert np.shares_memory(rows.scores, whole)


@pytest.mark.parametrize(("highest_class", "bytes_each"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4)])
def test_classes_take_as_few_bytes_as_hold_them(highest_class, bytes_each):
    classes = np.array([0, highest_class], np.int32)
    rows = Candidates(np.zeros((2, 4), np.float32), np.ones(2, np.float32), classes, np.zeros(2, np.int32))
    entry = CachedImage.of(rows, image_hw=(1, 1), shape_hw=(1, 1))
    assert len(encode(entry)) == 32 + 2 * (20 + bytes_each + 1)
    assert decode(encode(entry)).candidates.classes.tolist() == classes.tolist()


def test_a_thousand_rows_take_the_bytes_that_are_promised():
    rows = Candidates(
        np.zeros((1000, 4), np.float32),
        np.ones(1000, np.float32),
        np.zeros(1000, np.int32),
        np.arange(1000, dtype=np.int32),
    )
    assert len(encode(CachedImage.of(rows, image_hw=(1, 1), shape_hw=(1, 1)))) == 23_032


@given(st.binary(max_size=200))
def test_what_nobody_encoded_is_refused(data):
    with pytest.raises(DamagedEntry):
        decode(data)


@given(st.data())
def test_a_damaged_byte_is_found(make_entry, data):
    good = encode(make_entry())
    at, change = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255))
    with pytest.raises(DamagedEntry):
        decode(good[:at] + bytes([good[at] ^ change]) + good[at + 1 :])


@given(st.data())
def test_a_truncated_or_lengthened_entry_is_refused(make_entry, data):
    good = encode(make_entry())
    for wrong in (good[: data.draw(st.integers(0, len(good) - 1))], good + data.draw(st.binary(min_size=1))):
        with pytest.raises(DamagedEntry):
            decode(wrong)


def sealed(body: bytes) -> bytes:
    return SEAL.pack(b"YCI\x01", zlib.crc32(body)) + body


@given(st.binary(min_size=HEADER.size, max_size=300))
def test_bytes_with_the_right_checksum_are_refused_or_valid(body):
    try:
        entry = decode(sealed(body))
    except DamagedEntry:
        return
    assert entry.candidates.boxes.shape == (len(entry.candidates), 4)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ((3, 1, 0, 1, 1, 1, 1), "width"),
        ((1, 0, 0, 1, 1, 1, 1), "width"),
        ((1, 1, 0, 1, 0, 1, 1), "size"),
        ((1, 1, 1, 1, 1, 1, 1), "1 rows"),
        ((1, 1, 2**32 - 1, 1, 1, 1, 1), "rows"),
    ],
)
def test_a_header_that_lies_is_refused(header, reason):
    with pytest.raises(DamagedEntry, match=reason):
        decode(sealed(struct.pack("<BBxxIIIII", *header)))


def test_an_entry_of_another_version_is_refused(make_entry: Callable[..., CachedImage]):
    with pytest.raises(DamagedEntry, match="version"):
        decode(b"YCI\x02" + encode(make_entry())[4:])
