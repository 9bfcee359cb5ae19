"""The table of codes is total, and tells programs the same names as HTTP does."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from service.api import problems
from service.errors import (
    EngineDown,
    Finding,
    ImageError,
    InvalidOption,
    RateLimited,
    RequestError,
    ServiceError,
    StartError,
    TooLate,
    Unavailable,
    UndecodableImage,
    UnknownModel,
)
from service.streams.status import TABLE, code_of, describe, describe_bug, name_of

# Inner nodes of the tree, which nobody raises.
INNER = {ServiceError, RequestError, Unavailable, ImageError}
# What a client is told as its parent, because it makes no difference to it.
AS_PARENT = {EngineDown, TooLate}


def descendants(kind: type[Exception]) -> set[type[Exception]]:
    """Those of the tree; what an engine or another transport tells apart within itself is told as its parent."""
    own = ("service.engine", "service.api", "service.client")
    children = [child for child in kind.__subclasses__() if not child.__module__.startswith(own)]
    return {kind} | {below for child in children for below in descendants(child)}


def unpack(status: grpc.Status) -> dict[str, Any]:
    """The details of a status, by the name of their type."""
    (packed,) = (value for key, value in status.trailing_metadata if key == "grpc-status-details-bin")
    details = {}
    for detail in status_pb2.Status.FromString(packed).details:
        name = detail.TypeName().rpartition(".")[2]
        details[name] = getattr(error_details_pb2, name)()
        detail.Unpack(details[name])
    return details


def test_every_error_that_a_request_can_meet_has_a_code():
    met = (descendants(ServiceError) - descendants(StartError) | descendants(ImageError)) - INNER
    assert set(TABLE) == met - AS_PARENT
    assert code_of(EngineDown("away")) == grpc.StatusCode.UNAVAILABLE


def test_every_code_of_the_conventions_is_there():
    names = "INVALID_ARGUMENT RESOURCE_EXHAUSTED UNAVAILABLE DEADLINE_EXCEEDED NOT_FOUND UNAUTHENTICATED"
    names += " PERMISSION_DENIED FAILED_PRECONDITION CANCELLED"
    assert {code.name for code in TABLE.values()} == set(names.split())


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
def test_errors_have_the_names_that_http_tells(kind: type[Exception]):
    assert name_of(kind.__new__(kind)) == problems.TABLE[kind][1]


def test_what_is_told_as_its_parent_has_its_parents_name():
    assert (name_of(EngineDown("away")), name_of(TooLate("late"))) == ("engine-failed", "overloaded")


def test_a_status_says_what_went_wrong_and_with_which_request():
    status = describe(UnknownModel("which?"), "from-me.1")
    assert (status.code, status.details) == (grpc.StatusCode.NOT_FOUND, "which?")
    details = unpack(status)
    assert set(details) == {"ErrorInfo", "RequestInfo"}
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == ("unknown-model", "yolov7-service")
    assert details["RequestInfo"].request_id == "from-me.1"


def test_each_finding_is_a_violation_of_its_field():
    details = unpack(describe(InvalidOption(Finding("/iou", "too large"), Finding("/a/b", "unknown")), "abc"))
    found = [(violation.field, violation.description) for violation in details["BadRequest"].field_violations]
    assert found == [("iou", "too large"), ("a.b", "unknown")]


def test_an_image_that_cannot_be_decoded_is_pointed_at():
    (violation,) = unpack(describe(UndecodableImage("torn"), "abc"))["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("image", "torn")


@pytest.mark.parametrize("kind", sorted(descendants(Unavailable) - {Unavailable}, key=lambda kind: kind.__name__))
def test_what_passes_says_when_to_retry(kind: type[Unavailable]):
    assert unpack(describe(kind("not now", retry_after_s=3), "abc"))["RetryInfo"].retry_delay.seconds == 3


def test_a_rate_says_when_to_come_back():
    status = describe(RateLimited("slower", limit=5, window_s=60, retry_after_s=7), "abc")
    assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert unpack(status)["RetryInfo"].retry_delay.seconds == 7


def test_a_bug_is_told_with_nothing_internal():
    status = describe_bug("abc")
    assert (status.code, unpack(status)["ErrorInfo"].reason) == (grpc.StatusCode.INTERNAL, "internal")
    assert unpack(status)["RequestInfo"].request_id == "abc"


def test_what_is_said_fits_into_trailers_whatever_was_asked_for():
    long = "x" * 9000
    for error in (UnknownModel(long), InvalidOption(*(Finding(f"/{long}", long) for _ in range(20)))):
        status = describe(error, "id")
        told = len(status.details) + sum(len(name) + len(value) for name, value in status.trailing_metadata)
        assert told < 8192
