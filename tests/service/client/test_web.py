"""What comes of answers, those of the service and those of what may stand before it."""

import json

import httpx
import pytest

from service.client.errors import ConnectionFailed, Finding, RequestRefused, ServiceFailed, ServiceUnavailable, TimedOut
from service.client.options import Options
from service.client.web import MODELS, Request, authorisation, detect, read_models, read_result, transport_error

PROBLEM = {
    "type": "urn:yolov7-service:problem:invalid-option",
    "title": "Invalid option",
    "status": 422,
    "detail": "iou: too large",
    "instance": "/v1/detect",
    "request_id": "abc",
    "errors": [{"pointer": "/iou", "detail": "too large"}],
}


def answer(status: int, content: bytes, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=content, headers=given, request=httpx.Request("POST", "http://a/v1/detect"))


def build(request: Request, left_s: float = 2.5) -> httpx.Request:
    with httpx.Client(base_url="http://a/prefix") as client:
        return request.build(client, left_s, connect_timeout_s=1.0)


def test_a_request_brings_picture_options_and_what_is_left(png: bytes):
    request = build(detect(png, Options(confidence=0.5, classes=("a b", "c"))))
    assert str(request.url) == "http://a/prefix/v1/detect?confidence=0.5&classes=a+b&classes=c"
    assert request.content == png
    assert request.headers["content-type"] == "image/png"
    assert request.headers["x-request-timeout-ms"] == "2500"
    assert request.extensions["timeout"] == {"connect": 1.0, "read": 2.5, "write": 2.5, "pool": 2.5}


def test_the_last_moment_is_still_a_millisecond():
    assert build(MODELS, 0.0001).headers["x-request-timeout-ms"] == "1"


def test_a_problem_is_told_with_its_findings():
    with pytest.raises(RequestRefused, match=r"Invalid option: iou: too large \(request abc\)") as caught:
        read_result(answer(422, json.dumps(PROBLEM).encode()))
    problem = caught.value.problem
    assert (problem.status, problem.name, problem.request_id) == (422, "invalid-option", "abc")
    assert problem.findings == (Finding("/iou", "too large"),)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, RequestRefused), (429, ServiceUnavailable), (500, ServiceFailed), (502, ServiceFailed),
     (503, ServiceUnavailable), (504, TimedOut), (408, TimedOut), (301, ServiceFailed)],
)  # fmt: skip
def test_a_proxy_that_knows_no_problem_documents_is_understood(status: int, kind: type[Exception]):
    with pytest.raises(kind, match=f"{status} .*<html>"):
        read_result(answer(status, b"<html>"))


@pytest.mark.parametrize(("told", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)])
def test_when_to_come_back_is_read_where_it_is_seconds(told: str, seconds: float | None):
    with pytest.raises(ServiceUnavailable) as caught:
        read_result(answer(503, b"{}", retry_after=told))
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"detections": [{}]}', b"\xff"])
@pytest.mark.parametrize("read", [read_result, read_models])
def test_another_service_is_noticed(content: bytes, read):
    with pytest.raises(ServiceFailed, match="something else"):
        read(answer(200, content))


@pytest.mark.parametrize(
    ("error", "kind"),
    [(httpx.ConnectError("x"), ConnectionFailed), (httpx.ConnectTimeout("x"), ConnectionFailed),
     (httpx.RemoteProtocolError("x"), ConnectionFailed), (httpx.ReadTimeout(""), TimedOut)],
)  # fmt: skip
def test_what_the_transport_says_is_translated(error: httpx.TransportError, kind: type[Exception]):
    assert type(transport_error(error, build(MODELS))) is kind


@pytest.mark.parametrize("key", ["", "two words", "two\nlines", "schlüssel"])
def test_a_key_that_cannot_be_carried_is_refused_at_once(key: str):
    with pytest.raises(ValueError, match="printable ASCII"):
        authorisation(key)
