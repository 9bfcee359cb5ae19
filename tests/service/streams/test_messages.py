"""From messages to values and back."""

import pytest

from service.detector.detector import STAGES
from service.detector.options import MAX_ITEMS, DetectOptions
from service.errors import BodyTooLarge, InvalidOption, MalformedRequest, UndecodableImage
from service.live import Closing, Dropped, Every, Failed, Frame, Latest
from service.live.frame import DropReason
from service.streams.messages import (
    REASONS,
    Unreadable,
    read_delivery,
    read_options,
    read_picture,
    write_outcome,
)
from service.streams.wire import detection_pb2 as pb
from service.vision.image import ImageError
from service.vision.raw import RawImage


def test_what_is_unset_has_the_defaults_of_http():
    assert read_options(pb.Options()) == DetectOptions()


def test_every_option_is_read():
    given = {"model": "blocks", "version": "1", "confidence": 0.5, "iou": 0.0, "max_detections": 7}
    given |= {"class_agnostic": True, "multi_label": True, "classes": ["red", "2"]}
    options = read_options(pb.Options(class_confidence={"red": 0.4}, **given))
    assert options == DetectOptions(**given | {"classes": ("red", "2"), "class_confidence": ("red:0.4",)})
    assert set(given) | {"class_confidence"} == set(DetectOptions.model_fields)


def test_a_value_that_is_zero_is_no_default():
    with pytest.raises(InvalidOption, match="max_detections"):
        read_options(pb.Options(max_detections=0))


@pytest.mark.parametrize("options", [pb.Options(confidence=2), pb.Options(confidence=float("nan"))])
def test_an_option_out_of_range_is_named(options: pb.Options):
    with pytest.raises(InvalidOption) as caught:
        read_options(options)
    assert [finding.pointer for finding in caught.value.findings] == ["/confidence"]


def test_no_more_classes_are_read_than_are_taken():
    with pytest.raises(InvalidOption, match="classes"):
        read_options(pb.Options(classes=["red"] * 100 * MAX_ITEMS))
    with pytest.raises(InvalidOption, match="class_confidence"):
        read_options(pb.Options(class_confidence={str(number): 0.5 for number in range(10 * MAX_ITEMS)}))


def test_pictures_are_files_or_pixels():
    assert read_picture(pb.Image(encoded=b"file"), max_bytes=4) == b"file"
    raw = pb.RawImage(format=pb.RawImage.BGR, width=2, height=1, data=b"abcdef")
    assert read_picture(pb.Image(raw=raw), max_bytes=6) == RawImage(b"abcdef", 1, 2, "bgr")


@pytest.mark.parametrize("image", [pb.Image(encoded=b"12345"), pb.Image(raw=pb.RawImage(data=b"12345"))])
def test_a_picture_over_the_limit_is_refused(image: pb.Image):
    with pytest.raises(BodyTooLarge, match="5 bytes; at most 4"):
        read_picture(image, max_bytes=4)


@pytest.mark.parametrize("image", [pb.Image(), pb.Image(raw=pb.RawImage(data=b"1")), pb.Image(raw={"format": 9})])
def test_a_message_without_a_picture_is_malformed(image: pb.Image):
    with pytest.raises(MalformedRequest):
        read_picture(image, max_bytes=4)


def test_what_cannot_be_read_says_so_where_its_pixels_are_wanted():
    picture = Unreadable(MalformedRequest("nothing there"))
    with pytest.raises(MalformedRequest, match="nothing there"):
        picture.to_rgb(max_pixels=1)


def test_deliveries():
    assert read_delivery(pb.Open()) == Latest(1.0)
    assert read_delivery(pb.Open(latest=pb.Latest(max_age=0.2))) == Latest(0.2)
    assert read_delivery(pb.Open(every=pb.Every(credits=3))) == Every(3)
    most = read_delivery(pb.Open(every=pb.Every()))
    assert isinstance(most, Every)
    assert most.credits > 10**6


@pytest.mark.parametrize("reason", DropReason.__args__)
def test_drops_say_why_and_which(reason: DropReason):
    dropped = write_outcome(Dropped(reason, 3, 9, 5)).dropped
    assert (dropped.first, dropped.last, dropped.count) == (3, 9, 5)
    assert pb.Dropped.Reason.Name(dropped.reason).lower() == reason
    assert len(set(REASONS.values())) == len(REASONS)


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [(UndecodableImage("torn"), 3, "undecodable-image"), (BodyTooLarge("much"), 8, "body-too-large")],
)
def test_a_failure_has_code_text_and_kind(error: ImageError, code: int, kind: str):
    failed = write_outcome(Failed(Frame(7, b"", 0.0, captured_at=0.0), error)).error
    assert (failed.sequence, failed.code, failed.message, failed.kind) == (7, code, str(error), kind)
    assert failed.HasField("captured_at")


def test_a_frame_without_a_time_is_answered_without():
    assert not write_outcome(Failed(Frame(7, b"", 0.0), UndecodableImage("torn"))).error.HasField("captured_at")


def test_closing_says_when_to_come_back():
    assert write_outcome(Closing(2.5)).closing.retry_after == 2.5


def test_every_stage_has_its_field():
    assert tuple(field.name for field in pb.Stages.DESCRIPTOR.fields) == STAGES
