"""The table of statuses is total, and an answer to an unread body closes its connection."""

import json

import pytest

from service.api.problems import TABLE, describe
from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    EngineDown,
    Finding,
    ImageError,
    InvalidOption,
    RateLimited,
    RequestError,
    ServiceError,
    StartError,
    TooLate,
    Unauthenticated,
    Unavailable,
    UndecodableImage,
    UnknownModel,
)

# Inner nodes of the tree, which nobody raises.
INNER = {ServiceError, RequestError, Unavailable, ImageError}
# What a client is told as its parent, because it makes no difference to it.
AS_PARENT = {EngineDown, TooLate}

TREE = ("service.errors", "service.vision")


def descendants(kind: type[Exception]) -> set[type[Exception]]:
    """Those of the tree; what a module tells apart within itself is told as its parent."""
    children = [child for child in kind.__subclasses__() if child.__module__.startswith(TREE)]
    return {kind} | {below for child in children for below in descendants(child)}


def test_every_error_that_a_request_can_meet_has_a_status():
    met = (descendants(ServiceError) - descendants(StartError) | descendants(ImageError)) - INNER
    assert set(TABLE) == met - AS_PARENT
    assert describe(EngineDown("away")).name == "engine-failed"


def test_names_are_unique():
    assert len({name for _, name, _ in TABLE.values()}) == len(TABLE)


def test_a_document_says_everything():
    response = describe(InvalidOption(Finding("/iou", "too large"))).response("abc", "/v1/detect")
    assert response.media_type == "application/problem+json"
    assert json.loads(response.body) == {
        "type": "urn:yolov7-service:problem:invalid-option",
        "title": "Invalid option",
        "status": 422,
        "detail": "iou: too large",
        "instance": "/v1/detect",
        "request_id": "abc",
        "errors": [{"pointer": "/iou", "detail": "too large"}],
    }


def test_an_image_that_cannot_be_decoded_is_pointed_at():
    document = json.loads(describe(UndecodableImage("torn")).response("abc", "/").body)
    assert (document["status"], document["errors"]) == (422, [{"pointer": "/image", "detail": "torn"}])


@pytest.mark.parametrize("kind", sorted(descendants(Unavailable) - {Unavailable}, key=lambda kind: kind.__name__))
def test_what_passes_says_when_to_retry(kind: type[Unavailable]):
    response = describe(kind("not now", retry_after_s=3)).response("abc", "/")
    assert response.status_code in (502, 503)
    assert response.headers["retry-after"] == "3"


def test_a_missing_key_names_the_scheme_and_a_rate_itself():
    assert describe(Unauthenticated("who?")).response("abc", "/").headers["www-authenticate"].startswith("Bearer ")
    limited = describe(RateLimited("slower", limit=5, window_s=60, retry_after_s=7)).response("abc", "/")
    told = {name: limited.headers[name] for name in limited.headers if "rate" in name or "retry" in name}
    assert told == {"retry-after": "7", "ratelimit-limit": "5", "ratelimit-remaining": "0", "ratelimit-reset": "7",
                    "ratelimit-policy": "5;w=60"}  # fmt: skip


def test_every_status_of_the_conventions_is_there():
    statuses = {status for status, _, _ in TABLE.values()}
    assert statuses == {400, 401, 403, 404, 406, 408, 409, 413, 415, 422, 429, 499, 502, 503, 504}


@pytest.mark.parametrize("kind", [BodyTooLarge, BodyTooSlow])
def test_an_answer_before_the_end_of_the_body_closes(kind: type[RequestError]):
    assert describe(kind("too much")).response("abc", "/").headers["connection"] == "close"


def test_any_other_answer_leaves_the_connection_open():
    assert "connection" not in describe(UnknownModel("which?")).response("abc", "/").headers
