"""The passport of an engine file: written and read back, and whether a file may run where it was found."""

import json
from dataclasses import replace

import numpy as np
import pytest

from service.vision.detections import Candidates
from service.vision.passport import EnginePassport, FoundEngine, Measurement, Seen, check
from service.vision.spec import KnownImage, SpecError

SHAPES = ((128, 128), (64, 128))
KNOWN = KnownImage(
    7,
    (128, 128),
    Candidates(
        np.array([[1, 2, 3, 4.1]], np.float32),
        np.array([0.3], np.float32),
        np.array([1], np.int32),
        np.array([5], np.int32),
    ),
)
PASSPORT = EnginePassport(
    file="model.int8.xml",
    format="openvino",
    precision="int8",
    sha256={"model.int8.xml": "aa", "model.int8.bin": "bb"},
    made_from="cc",
    input_shapes=SHAPES,
    versions={"openvino": "2026.1"},
    origin={"commit": "1234567"},
    parent={"AP": 0.5},
    measurements=(Measurement("int8", "openvino 2026.1", "CPU", {"AP": 0.49}, {"1": 20.5, "8": 100}),),
    seen=Seen("val.json", 10, 20, 0.5, 0.25, {"Car": 1.0}, (1,) * 15),
    known_images=(KNOWN,),
)
FOUND = FoundEngine("model.int8.xml", "openvino", dict(PASSPORT.sha256), "cc", SHAPES, {"openvino": "2026.1"})
PLAN = replace(
    PASSPORT,
    file="model.plan",
    format="tensorrt",
    sha256={"model.plan": "dd"},
    versions={"tensorrt": "10.13", "architecture": "sm_90", "driver": "580.1"},
)
FOUND_PLAN = replace(
    FOUND, file="model.plan", format="tensorrt", sha256={"model.plan": "dd"}, versions=dict(PLAN.versions)
)


def test_a_passport_is_read_back_as_written():
    read = EnginePassport.from_json(PASSPORT.to_json())
    assert read.to_json() == PASSPORT.to_json()
    assert (read.measurements, read.seen, read.input_shapes) == (PASSPORT.measurements, PASSPORT.seen, SHAPES)
    np.testing.assert_array_equal(read.known_images[0].candidates.boxes, KNOWN.candidates.boxes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"precision": 8}, "precision of the passport is 8, not str"),
        ({"sha256": {"model.int8.xml": 1}}, "sha256 of the passport: 'model.int8.xml' is 1, not str"),
        ({"parent": {"AP": True}}, "'AP' is True, not float"),
        ({"extra": 1}, "unknown keys: extra; is it of a newer release"),
        ({"sha256": {"../../etc/passwd": "aa"}}, r"is of '\.\./\.\./etc/passwd', which is no name of a file beside it"),
        ({"sha256": {"model\x00.onnx": "aa"}}, "which is no name of a file beside it"),
        ({"sha256": {"m" * 300: "aa"}}, "which is no name of a file beside it"),
        ({"parent": {"AP": float("nan")}}, "NaN is no number that JSON has"),
        ({"format": "\ud800"}, "surrogates not allowed"),
        ({"seen": {}}, "lacks data"),
        ({"measurements": [{}]}, "lacks precision"),
    ],
)
def test_what_says_something_else_is_named(change: dict, match: str):
    with pytest.raises(SpecError, match=match):
        EnginePassport.from_json(json.dumps(json.loads(PASSPORT.to_json()) | change))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"classes": [1 << 40]}, "are not arrays of numbers"),
        ({"seed": -1}, "seed is -1, less than 0"),
        ({"scores": [0.1, 0.2]}, "not as many boxes as scores"),
    ],
)
def test_a_known_image_that_nothing_could_be_asked_is_named(change: dict, match: str):
    document = json.loads(PASSPORT.to_json())
    document["known_images"][0] |= change
    with pytest.raises(SpecError, match=match):
        EnginePassport.from_json(json.dumps(document))


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(SpecError, match="1e999 is no number"):
        EnginePassport.from_json(PASSPORT.to_json().replace('"AP": 0.5', '"AP": 1e999'))


def test_a_known_image_of_a_foreign_shape_is_a_refusal():
    foreign = replace(PASSPORT, known_images=(replace(KNOWN, shape_hw=(100_000, 100_000)),))
    (refusal,) = check(foreign, FOUND).refusals
    assert refusal == "its known images are of 100000x100000, which it does not take"


def test_the_engine_that_was_checked_is_let_in():
    for passport, found in ((PASSPORT, FOUND), (PLAN, FOUND_PLAN)):
        assert check(passport, found).refusals == check(passport, found).warnings == ()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sha256": {"model.int8.xml": "aa", "model.int8.bin": "00"}}, "model.int8.bin is not the file its passport"),
        ({"sha256": {"model.int8.xml": "aa"}}, "model.int8.bin is missing"),
        ({"made_from": "00"}, "made from another model.onnx"),
        ({"format": "onnx"}, "of format openvino, not onnx"),
        ({"input_shapes": SHAPES[:1]}, "for 128x128 64x128, not for 128x128"),
        ({"file": "model.xml"}, "its passport is of model.int8.xml"),
    ],
)
def test_what_is_corrupted_or_foreign_is_refused_in_one_line(change: dict, match: str):
    (refusal,) = check(PASSPORT, replace(FOUND, **change)).refusals
    assert match in refusal
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("versions", "match"),
    [
        ({"tensorrt": "10.14"}, "built for tensorrt 10.13, here is 10.14"),
        ({"architecture": "sm_75"}, "built for architecture sm_90, here is sm_75"),
    ],
)
def test_a_plan_runs_only_where_it_was_built_for(versions: dict, match: str):
    (refusal,) = check(PLAN, replace(FOUND_PLAN, versions=FOUND_PLAN.versions | versions)).refusals
    assert match in refusal
    assert len(check(PLAN, replace(FOUND_PLAN, versions={})).refusals) == 2


def test_what_a_server_loads_elsewhere_is_held_to_its_file_alone():
    assert check(PLAN, replace(FOUND_PLAN, versions=None)).refusals == ()
    assert len(check(PLAN, replace(FOUND_PLAN, versions=None, sha256={"model.plan": "00"})).refusals) == 1


def test_other_versions_are_only_warned_of():
    verdict = check(PASSPORT, replace(FOUND, versions={"openvino": "2026.2"}))
    assert verdict.refusals == ()
    assert verdict.warnings == ("it was checked with openvino 2026.1, here is 2026.2",)
    assert check(PLAN, replace(FOUND_PLAN, versions=PLAN.versions | {"driver": "590"})).refusals == ()
