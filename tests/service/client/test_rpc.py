"""How calls end: as over HTTP, with the details of google.rpc and from the code alone."""

from typing import Any

import grpc
import pytest

from service.api.problems import TABLE
from service.api.problems import describe as describe_http
from service.client.errors import ConnectionFailed, Problem, RequestRefused, ServiceFailed, TimedOut, error_of
from service.client.rpc import call_error
from service.errors import Finding, InvalidOption, RateLimited, Unavailable
from service.streams.status import describe, describe_bug

# Their status differs from HTTP's, which knows more of them, and the error is the same all the same.
COARSER = {
    "body-too-slow",
    "stream-too-slow",
    "malformed-request",
    "not-acceptable",
    "unsupported-body",
    "unsupported-image",
}
# HTTP says 502 where gRPC has UNAVAILABLE; nobody is told that the client has left.
APART = {"engine-nonsense", "client-left"}


class Ended:
    def __init__(self, code: grpc.StatusCode, text: str = "", *trailers: tuple[str, Any]) -> None:
        self.code, self.details, self.trailing_metadata = lambda: code, lambda: text, lambda: trailers

    @classmethod
    def by_the_service(cls, status: Any) -> "Ended":
        return cls(status.code, status.details, ("x-request-id", "abc"), *status.trailing_metadata)


def make(kind: type[Exception]) -> Any:
    if kind is RateLimited:
        return RateLimited("slowly", limit=1, window_s=1, retry_after_s=4)
    if kind is InvalidOption:
        return InvalidOption(Finding("/iou", "too large"))
    return kind("so it is", retry_after_s=4) if issubclass(kind, Unavailable) else kind("so it is")


@pytest.mark.parametrize("kind", [kind for kind in TABLE if TABLE[kind][1] not in APART])
def test_an_error_is_the_same_over_both_transports(kind: type[Exception]):
    error = make(kind)
    http = describe_http(error)
    expected = error_of(Problem(http.status, http.name, "", http.detail))
    told = call_error(Ended.by_the_service(describe(error, "abc")))
    assert type(told) is type(expected)
    assert (told.problem.name, told.problem.detail, told.problem.request_id) == (http.name, http.detail, "abc")
    assert told.problem.status == http.status or http.name in COARSER
    if hasattr(error, "retry_after_s"):
        assert told.retry_after_s == 4


def test_findings_are_told():
    error = call_error(Ended.by_the_service(describe(make(InvalidOption), "abc")))
    assert [(found.pointer, found.detail) for found in error.problem.findings] == [("/iou", "too large")]


def test_a_bug_is_a_failure():
    error = call_error(Ended.by_the_service(describe_bug("abc")))
    assert type(error) is ServiceFailed
    assert error.problem.name == "internal"


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect", ConnectionFailed),
        (grpc.StatusCode.CANCELLED, "Channel closed!", ConnectionFailed),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", TimedOut),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", ServiceFailed),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 5)", RequestRefused),
    ],
)
def test_what_the_service_did_not_say_is_the_transport(code: grpc.StatusCode, text: str, kind: type[Exception]):
    assert type(call_error(Ended(code, text))) is kind
