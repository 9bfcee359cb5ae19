"""Options from text to what vision takes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from service.detector.options import MAX_FINDINGS, MAX_ITEMS, DetectOptions, parse_options, resolve_options
from service.errors import InvalidOption
from service.vision.postprocess import PostprocessOptions
from service.vision.spec import ModelSpec


@pytest.fixture(scope="module")
def spec(write_blocks: Callable[..., ModelSpec], tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    root: Path = tmp_path_factory.mktemp("options")
    return write_blocks(root)


def test_without_options_the_defaults_are_those_of_vision(spec: ModelSpec):
    assert resolve_options(parse_options([]), spec) == PostprocessOptions()


def test_every_option_arrives(spec: ModelSpec):
    options = parse_options(
        [("model", "blocks"), ("version", "1"), ("confidence", "0.5"), ("iou", "0.6"), ("max_detections", "7"),
         ("class_agnostic", "true"), ("multi_label", "1"), ("classes", "blue, 0"), ("classes", "Green"),
         ("class_confidence", "red:0.4"), ("class_confidence", "1:0.9")]
    )  # fmt: skip
    assert (options.model, options.version) == ("blocks", "1")
    assert resolve_options(options, spec) == PostprocessOptions(
        confidence=0.5,
        iou=0.6,
        max_detections=7,
        classes=(2, 0, 1),
        class_agnostic=True,
        multi_label=True,
        class_confidence=((0, 0.4), (1, 0.9)),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("confidence", "0"), ("confidence", "1.1"), ("confidence", "nan"), ("confidence", "high"), ("iou", "-0.1"),
        ("iou", "inf"), ("max_detections", "0"), ("max_detections", "1001"), ("max_detections", "2.5"),
        ("class_agnostic", "perhaps"), ("threshold", "0.5"), ("image", "x"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_or_unknown_is_pointed_at(name: str, text: str):
    with pytest.raises(InvalidOption) as caught:
        parse_options([(name, text)])
    assert [finding.pointer for finding in caught.value.findings] == [f"/{name}"]


def test_all_findings_are_told_at_once():
    with pytest.raises(InvalidOption) as caught:
        parse_options([("iou", "2"), ("confidence", "2")])
    assert {finding.pointer for finding in caught.value.findings} == {"/iou", "/confidence"}


def test_an_option_given_twice_is_refused():
    with pytest.raises(InvalidOption, match="iou: given more than once"):
        parse_options([("iou", "0.4"), ("iou", "0.5")])


@pytest.mark.parametrize("text", ["purple", "3", "-1", "²", "9" * 5000])
def test_a_class_that_the_model_lacks_lists_those_it_has(spec: ModelSpec, text: str):
    with pytest.raises(InvalidOption, match="it has red, green, blue"):
        resolve_options(parse_options([("classes", text)]), spec)


@pytest.mark.parametrize("text", ["red", "red:", "red:2", "red:nan", "purple:0.5", ":0.5"])
def test_a_class_confidence_must_name_both(spec: ModelSpec, text: str):
    with pytest.raises(InvalidOption, match="class_confidence"):
        resolve_options(parse_options([("class_confidence", text)]), spec)


def test_lists_and_findings_are_bounded():
    with pytest.raises(InvalidOption, match="classes: "):
        parse_options([("classes", "0," * (MAX_ITEMS + 1))])
    with pytest.raises(InvalidOption) as caught:
        parse_options([(f"x{n}", "") for n in range(MAX_FINDINGS + 1)])
    assert len(caught.value.findings) == MAX_FINDINGS


def test_an_unknown_option_lists_those_there_are():
    with pytest.raises(InvalidOption, match=r"there are model, .*class_confidence") as caught:
        parse_options([("a/b~", "1")])
    assert [finding.pointer for finding in caught.value.findings] == ["/a~1b~0"]


def test_of_classes_with_equal_names_the_first_counts_and_names_win_over_ids(spec: ModelSpec):
    named = replace(spec, class_names=("car", "0", "Car"))
    assert resolve_options(parse_options([("classes", "CAR,0,2")]), named).classes == (0, 1, 2)


def test_every_option_is_described():
    assert all(field.description for field in DetectOptions.model_fields.values())
