from dataclasses import fields

import pytest

from service.client.options import DetectOptions, Options
from service.detector.options import DetectOptions as ServerOptions
from service.detector.options import parse_options
from service.streams.messages import read_options

GIVEN = {
    "model": "blocks",
    "version": "2",
    "confidence": 0.4,
    "iou": 0.6,
    "classes": ("red", 2),
    "max_detections": 7,
    "class_agnostic": True,
    "multi_label": True,
    "class_confidence": {"blue": 0.3, 0: 0.125},
}


def test_the_arguments_are_those_of_the_service():
    assert {field.name for field in fields(Options)} == set(DetectOptions.__annotations__)
    assert set(DetectOptions.__annotations__) == set(ServerOptions.model_fields)


def test_the_service_reads_the_same_of_both_transports():
    options = Options(**GIVEN)
    read, over_grpc = parse_options(options.to_query()), read_options(options.to_message())
    # A map has no order on the wire.
    assert set(read.class_confidence) == set(over_grpc.class_confidence)
    assert read == over_grpc.model_copy(update={"class_confidence": read.class_confidence})
    assert (read.model, read.version, read.confidence, read.iou) == ("blocks", "2", 0.4, 0.6)
    assert (read.classes, read.max_detections) == (("red", "2"), 7)
    assert (read.class_agnostic, read.multi_label, read.class_confidence) == (True, True, ("blue:0.3", "0:0.125"))


def test_what_is_not_given_has_the_default_of_the_service():
    assert Options().to_query() == []
    assert read_options(Options().to_message()) == parse_options([])


def test_zero_is_given():
    assert Options(iou=0).to_query() == [("iou", "0")]
    assert read_options(Options(iou=0).to_message()).iou == 0


def test_a_lone_class_is_one_class():
    assert Options(classes="red").to_query() == [("classes", "red")]
    assert list(Options(classes="red").to_message().classes) == ["red"]


def test_an_unknown_argument_is_refused_as_python_does():
    with pytest.raises(TypeError, match="confidense"):
        Options(confidense=0.5)
