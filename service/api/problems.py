"""Errors as HTTP tells them: one table from type to status, and RFC 9457 problem documents.

Below /v1/vision they have the form of DeepStack instead, which the clients there read. The path decides, not who
refuses: an unknown path and a bug of ours are told as a route's own refusals are. Nothing here decides what is an
error.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientLeft,
    DeadlineExceeded,
    Draining,
    EngineFailed,
    EngineNonsense,
    Finding,
    Forbidden,
    ImageError,
    ImageTooLarge,
    InvalidOption,
    MalformedRequest,
    ModelConflict,
    ModelNotReady,
    NotAcceptable,
    Overloaded,
    RateLimited,
    ServiceError,
    StreamTooSlow,
    Unauthenticated,
    Unavailable,
    UndecodableImage,
    UnknownModel,
    UnsupportedBody,
    UnsupportedImage,
)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:yolov7-service:problem:"
DEEPSTACK = "/v1/vision"

# Type of error → status, name, title. A subclass that is not here is answered as its parent.
TABLE: Mapping[type[Exception], tuple[int, str, str]] = {
    Unauthenticated: (401, "unauthenticated", "No valid key"),
    Forbidden: (403, "forbidden", "Not allowed"),
    MalformedRequest: (400, "malformed-request", "Malformed request"),
    UnknownModel: (404, "unknown-model", "Unknown model"),
    NotAcceptable: (406, "not-acceptable", "Not acceptable"),
    ModelConflict: (409, "model-conflict", "The model's state does not allow it"),
    BodyTooSlow: (408, "body-too-slow", "The body arrived too slowly"),
    StreamTooSlow: (408, "stream-too-slow", "The answers were taken too slowly"),
    BodyTooLarge: (413, "body-too-large", "Too many bytes"),
    ImageTooLarge: (413, "image-too-large", "Too many pixels"),
    UnsupportedBody: (415, "unsupported-body", "Unsupported content type"),
    UnsupportedImage: (415, "unsupported-image", "Unsupported image type"),
    UndecodableImage: (422, "undecodable-image", "The image cannot be decoded"),
    InvalidOption: (422, "invalid-option", "Invalid option"),
    RateLimited: (429, "rate-limited", "Too many requests"),
    ClientLeft: (499, "client-left", "The client left"),
    Overloaded: (503, "overloaded", "Overloaded"),
    Draining: (503, "draining", "Shutting down"),
    ModelNotReady: (503, "model-not-ready", "The model is not ready"),
    EngineNonsense: (502, "engine-nonsense", "The engine answered nonsense"),
    EngineFailed: (503, "engine-failed", "The engine failed"),
    DeadlineExceeded: (504, "deadline-exceeded", "The deadline passed"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """`name` is the last part of the document's type, stable for programs; `closes` ends the connection."""

    status: int
    name: str
    title: str
    detail: str
    findings: tuple[Finding, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False

    def response(self, request_id: str, instance: str) -> Response:
        """The answer to one request; `instance` is its path."""
        headers = dict(self.headers) | ({"Connection": "close"} if self.closes else {})
        if instance == DEEPSTACK or instance.startswith(f"{DEEPSTACK}/"):
            told = {"success": False, "error": self.detail, "duration": 0, "code": self.status}
            return Response(json.dumps(told), self.status, headers, "application/json")
        document: dict[str, object] = {
            "type": TYPE_PREFIX + self.name,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
        }
        if self.findings:
            document["errors"] = [{"pointer": finding.pointer, "detail": finding.detail} for finding in self.findings]
        return Response(json.dumps(document), self.status, headers, MEDIA_TYPE)


def describe(error: ServiceError | ImageError) -> Problem:
    """The problem document for an error of the tree in service.errors."""
    status, name, title = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    findings = error.findings if isinstance(error, InvalidOption) else ()
    if isinstance(error, UndecodableImage):
        findings = (Finding("/image", str(error)),)
    headers = _headers(error)
    closes = isinstance(error, BodyTooLarge | BodyTooSlow)
    return Problem(status, name, title, str(error), findings, headers, closes)


def _headers(error: ServiceError | ImageError) -> tuple[tuple[str, str], ...]:
    match error:
        case Unauthenticated():
            return (("WWW-Authenticate", 'Bearer realm="yolov7-service"'),)
        case RateLimited():
            seconds = str(error.retry_after_s)
            limit, window = str(error.limit), error.window_s
            return (
                ("Retry-After", seconds),
                ("RateLimit-Limit", limit),
                ("RateLimit-Remaining", "0"),
                ("RateLimit-Reset", seconds),
                ("RateLimit-Policy", f"{limit};w={window}"),
            )
        case Unavailable():
            return (("Retry-After", str(error.retry_after_s)),)
        case _:
            return ()
